//! What a process sees of these connections, against what was measured on real ones.

use std::collections::BTreeMap;

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::measure::quantile;

const ONE: NodeId = NodeId(1);
const TWO: NodeId = NodeId(2);
const PATIENCE: Patience = Patience { connect: 60 * SECOND, handshake: 120 * SECOND, pong: 120 * SECOND };
const THERE: Flow = Flow { from: ONE, to: TWO, lane: Lane::Control };
const BACK: Flow = Flow { from: TWO, to: ONE, lane: Lane::Control };

/// Two nodes and nothing else. Time goes from event to event.
struct World {
    now: Micros,
    rng: ChaCha8Rng,
    tcp: Tcp<u64>,
    events: BTreeMap<(Micros, u64), Event<u64>>,
    last_event: u64,
    /// What the nodes have noticed, with its time; what is scheduled is not in it.
    noticed: Vec<(Micros, Effect<u64>)>,
}

impl World {
    fn new(seed: u64, quality: Quality) -> Self {
        Self::with(seed, quality, PATIENCE)
    }

    fn with(seed: u64, quality: Quality, patience: Patience) -> Self {
        let mut world = Self {
            now: 0,
            rng: ChaCha8Rng::seed_from_u64(seed),
            tcp: Tcp::new(quality, patience),
            events: BTreeMap::new(),
            last_event: 0,
            noticed: Vec::new(),
        };
        for (node, peer) in [(ONE, TWO), (TWO, ONE)] {
            world.tcp.process_started(node);
            world.tcp.process_started(peer);
            world.call(|tcp, now, rng| tcp.connect(now, rng, node, peer));
        }
        world
    }

    fn call(&mut self, call: impl FnOnce(&mut Tcp<u64>, Micros, &mut ChaCha8Rng)) {
        call(&mut self.tcp, self.now, &mut self.rng);
        for effect in self.tcp.take_effects() {
            match effect {
                Effect::Schedule(at, event) => {
                    self.last_event += 1;
                    self.events.insert((at, self.last_event), event);
                }
                noticed => self.noticed.push((self.now, noticed)),
            }
        }
    }

    fn send(&mut self, flow: Flow, bytes: u64, message: u64) {
        self.call(|tcp, now, rng| tcp.send(now, rng, flow, bytes, message));
    }

    /// Goes on until that time.
    fn run_until(&mut self, until: Micros) {
        while let Some(entry) = self.events.first_entry()
            && entry.key().0 <= until
        {
            let ((at, _), event) = entry.remove_entry();
            self.now = at;
            self.call(|tcp, now, rng| tcp.on_event(now, rng, event));
        }
        self.now = until;
    }

    /// Goes on until something like this was noticed, and returns when that was.
    fn run_until_noticed(&mut self, is_it: impl Fn(&Effect<u64>) -> bool) -> Micros {
        let mut seen = 0;
        loop {
            for (at, effect) in &self.noticed[seen..] {
                if is_it(effect) {
                    let at = *at;
                    self.noticed.clear();
                    return at;
                }
            }
            seen = self.noticed.len();
            let ((at, _), event) = self.events.pop_first().expect("something goes on");
            assert!(at < self.now + 3_600 * SECOND, "nothing like that happens");
            self.now = at;
            self.call(|tcp, now, rng| tcp.on_event(now, rng, event));
        }
    }

    fn run_until_arrived(&mut self, on: Flow, which: u64) -> Micros {
        self.run_until_noticed(
            |effect| matches!(effect, Effect::Arrived { flow, message } if (*flow, *message) == (on, which)),
        )
    }

    fn run_until_connected(&mut self, from: NodeId) -> Micros {
        self.run_until_noticed(|effect| matches!(effect, Effect::Connected { node, .. } if *node == from))
    }
}

/// The times that so many echoes take, one after the other.
fn echo(seed: u64, count: u64) -> Vec<Micros> {
    let mut world = World::new(seed, Quality::ACCEPTANCE);
    world.run_until(120 * SECOND);
    let mut times = Vec::new();
    for number in 0..count {
        let sent_at = world.now;
        world.send(THERE, 64, number);
        world.run_until_arrived(THERE, number);
        world.send(BACK, 64, number);
        times.push(world.run_until_arrived(BACK, number) - sent_at);
    }
    times
}

/// A TCP echo on the acceptance network was measured on Linux: p50 2.0 s, p90 5 to 11 s, the longest of a run 13 s.
#[test]
fn an_echo_takes_as_long_as_measured() {
    let mut all: Vec<Micros> = Vec::new();
    let mut longest: Vec<Micros> = Vec::new();
    for seed in 0..50 {
        let times = echo(seed, 40);
        longest.extend(times.iter().max());
        all.extend(times);
    }
    let seconds = |times: &mut Vec<Micros>, share| quantile(times, share) as f64 / SECOND as f64;
    let (p50, p90) = (seconds(&mut all, 0.5), seconds(&mut all, 0.9));
    let longest = seconds(&mut longest, 0.5);
    println!("p50 {p50:.2} s, p90 {p90:.2} s, the longest of 40 (median) {longest:.2} s");
    assert!((1.9..=2.1).contains(&p50), "p50 is {p50} s");
    assert!((4.0..=11.0).contains(&p90), "p90 is {p90} s");
    assert!((8.0..=18.0).contains(&longest), "the longest is {longest} s");
}

/// Measured with TCP on loopback, in segments of 64 KiB: 0.6 to 0.95 Mbit/s. The window of CUBIC does no better than that of BBR there.
#[test]
fn a_flood_is_as_slow_as_measured() {
    let mut rates: Vec<u64> = (0..20).map(flood).collect();
    let median = quantile(&mut rates, 0.5);
    println!("{median} kbit/s");
    assert!((400..=1_500).contains(&median), "{median} kbit/s");
}

/// Kilobits a second.
fn flood(seed: u64) -> u64 {
    const MESSAGES: u64 = 2_000;
    let mut world = World::new(seed, Quality::ACCEPTANCE);
    world.run_until(120 * SECOND);
    (0..MESSAGES).for_each(|number| world.send(THERE, 65_483, number));
    let began_at = world.now;
    world.run_until(began_at + 600 * SECOND);
    let is_message = |(_, effect): &&(Micros, Effect<u64>)| matches!(effect, Effect::Arrived { .. });
    let arrived = world.noticed.iter().filter(is_message).count() as u64;
    assert!(arrived < MESSAGES, "there must be something left to send");
    arrived * 65_483 * 8 / 600 / 1_000
}

/// What arrives on a flow, each with its time, in the order in which it arrived.
fn arrivals(world: &World) -> Vec<(Micros, u64)> {
    let arrived = world.noticed.iter().filter_map(|(at, effect)| match effect {
        Effect::Arrived { message, .. } => Some((*at, *message)),
        _ => None,
    });
    arrived.collect()
}

/// What is behind a lost segment waits and comes with it. Nothing is lost, doubled or out of order.
#[test]
fn a_lost_segment_holds_up_what_is_behind() {
    let mut gaps: Vec<Micros> = Vec::new();
    let mut bursts = 0;
    for seed in 0..10 {
        let mut world = World::new(seed, Quality::ACCEPTANCE);
        world.run_until(60 * SECOND);
        for number in 0..2_000 {
            world.send(THERE, 64, number);
            world.run_until(world.now + SECOND / 2);
        }
        world.run_until(world.now + 600 * SECOND);
        let arrived = arrivals(&world);
        assert!(arrived.iter().map(|(_, message)| *message).eq(0..2_000), "seed {seed}: in order, each once");
        let times = arrived.windows(2).map(|pair| pair[1].0 - pair[0].0);
        bursts += times.clone().filter(|gap| *gap == 0).count();
        gaps.extend(times);
    }
    let seconds = [0.5, 0.9, 0.99, 0.999, 1.0].map(|share| quantile(&mut gaps, share) as f64 / SECOND as f64);
    println!(
        "gaps of messages every 500 ms: p50, p90, p99, p99.9, longest {seconds:.2?} s; {bursts} came with another"
    );
    assert!(bursts > 2_000, "{bursts}");
    let [.., p999, longest] = seconds;
    assert!((4.0..=12.0).contains(&p999) && longest <= 40.0, "p99.9 is {p999} s, the longest {longest} s");
}

/// On a link without faults a message takes as long as the link, and a connection three times as long before that: SYN, SYN-ACK,
/// Hello, Welcome and then the message.
#[test]
fn a_connection_costs_two_round_trips() {
    let mut world = World::new(0, Quality { jitter: 0, ..Quality::plain(100_000, 0.0) });
    world.send(THERE, 64, 7);
    assert_eq!(world.run_until_connected(ONE), 400_000);
    assert_eq!(world.run_until_arrived(THERE, 7), 500_000);
    world.send(THERE, 9 * 1_448, 8);
    assert_eq!(world.run_until_arrived(THERE, 8), 600_000);
}

/// A lost SYN is sent again 1, 3 and 7 seconds after the first.
#[test]
fn a_lost_syn_costs_seconds() {
    let mut world = World::new(0, Quality { jitter: 0, ..Quality::plain(1_000, 0.0) });
    world.tcp.cut([(ONE, TWO)]);
    world.tcp.disconnect(0, &mut world.rng, ONE, TWO);
    world.call(|tcp, now, rng| tcp.connect(now, rng, ONE, TWO));
    world.run_until(2 * SECOND);
    world.tcp.mend();
    assert_eq!(world.run_until_connected(ONE), 3 * SECOND + 4_000);
}

/// A process is killed: its peers are told after half a round trip that the connection is closed, and after one more that nobody is
/// there. What it had written before arrives.
#[test]
fn a_killed_process_is_noticed() {
    let mut world = World::new(0, Quality { jitter: 0, ..Quality::plain(100_000, 0.0) });
    world.run_until(SECOND);
    world.noticed.clear();
    world.send(BACK, 64, 1);
    world.call(|tcp, now, rng| tcp.process_ended(now, rng, TWO));
    world.run_until(2 * SECOND);
    let noticed: Vec<String> = world.noticed.iter().map(|(at, effect)| format!("{} {effect:?}", at / 1_000)).collect();
    assert_eq!(
        noticed,
        [
            "1100 Arrived { flow: Flow { from: NodeId(2), to: NodeId(1), lane: Control }, message: 1 }",
            "1100 Disconnected { node: NodeId(1), peer: NodeId(2) }",
            "1300 Gone { node: NodeId(1), peer: NodeId(2) }",
        ]
    );
    world.tcp.process_started(TWO);
    world.call(|tcp, now, rng| tcp.connect(now, rng, TWO, ONE));
    let back = world.run_until_connected(ONE);
    assert!(back < 3 * SECOND + 500_000, "dialed again within the longest pause, or once the other calls: {back}");
}

/// On a bad network that takes longer, but it comes: what says so is said again.
#[test]
fn a_killed_process_is_noticed_on_a_bad_network() {
    let mut times: Vec<Micros> = Vec::new();
    for seed in 0..200 {
        let mut world = World::new(seed, Quality::ACCEPTANCE);
        world.run_until(120 * SECOND);
        let killed_at = world.now;
        world.call(|tcp, now, rng| tcp.process_ended(now, rng, TWO));
        times.push(world.run_until_noticed(|effect| matches!(effect, Effect::Gone { .. })) - killed_at);
    }
    let [p50, p90, p99] = [0.5, 0.9, 0.99].map(|share| quantile(&mut times, share) as f64 / SECOND as f64);
    println!("gone: p50 {p50:.1} s, p90 {p90:.1} s, p99 {p99:.1} s");
    assert!(p50 <= 3.2 && p99 <= 20.0, "p50 {p50} s, p99 {p99} s");
}

/// A machine without power says nothing; when it is back, it knows nothing of the connections that the others still have.
#[test]
fn a_machine_without_power_is_not_noticed_until_it_is_back() {
    let mut world = World::new(0, Quality { jitter: 0, ..Quality::plain(100_000, 0.0) });
    world.run_until(SECOND);
    world.noticed.clear();
    world.tcp.power_failed(TWO);
    world.send(THERE, 64, 1);
    world.run_until(4 * SECOND);
    assert!(world.noticed.is_empty(), "{:?}", world.noticed);
    world.tcp.process_started(TWO);
    let told_at = world.run_until_noticed(|effect| matches!(effect, Effect::Disconnected { .. }));
    assert!(told_at <= 9 * SECOND, "with the next segment that is sent again: {told_at}");
    assert_eq!(world.run_until_connected(ONE), told_at + 400_000, "and dialed at once");
}

/// Nothing comes back for so long that it is of no use any more to wait for what is sent again ever more seldom.
#[test]
fn a_connection_on_which_no_ping_is_answered_is_given_up() {
    let quality = Quality { jitter: 0, ..Quality::plain(1_000, 0.0) };
    let patience = Patience::of(&quality);
    let mut world = World::with(0, quality, patience);
    world.run_until(SECOND);
    world.noticed.clear();
    world.tcp.cut([(ONE, TWO)]);
    let told_at = world.run_until_noticed(|effect| matches!(effect, Effect::Disconnected { .. }));
    assert_eq!(told_at / SECOND, 15, "pinged after 5 s, and waited for 10");
}

/// A machine loses its power when it has taken the Hello, and its Welcome was lost. Who waits for the Welcome has nothing else to
/// say: the next ping tells it that nobody there knows of this connection.
#[test]
fn a_welcome_that_will_never_come_is_not_waited_for() {
    let mut world = World::new(0, Quality { jitter: 0, ..Quality::plain(1_000, 0.0) });
    world.run_until(2_500);
    world.tcp.cut([(TWO, ONE)]);
    // The second Welcome is lost like the first, and the Hello, which is sent again a moment later, is acknowledged.
    world.run_until(204_000);
    world.tcp.mend();
    world.run_until(300_000);
    world.tcp.power_failed(TWO);
    world.tcp.process_started(TWO);
    let connected_at = world.run_until_connected(ONE);
    assert!(connected_at <= PING_INTERVAL + 100_000, "pinged, told, and dialed again: {connected_at}");
}

/// Everything waits while a link is cut, and goes on after it, with what a time-out has grown to.
#[test]
fn a_cut_link_delays() {
    let mut world = World::new(0, Quality { jitter: 0, ..Quality::plain(1_000, 0.0) });
    world.run_until(SECOND);
    world.tcp.cut([(ONE, TWO), (TWO, ONE)]);
    (0..9).for_each(|number| world.send(THERE, 64, number));
    world.run_until(4 * SECOND);
    world.tcp.mend();
    world.noticed.clear();
    world.run_until(9 * SECOND);
    let arrived = arrivals(&world);
    assert!(arrived.iter().map(|(_, message)| *message).eq(0..9));
    let (first, last) = (arrived[0].0, arrived[8].0);
    assert!(4 * SECOND < first && first <= 7 * SECOND && last - first < 20_000, "{first} to {last}");
}
