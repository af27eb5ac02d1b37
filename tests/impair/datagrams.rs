//! Numbered packets over UDP: which arrive, when, and how often.

use std::net::UdpSocket;
use std::thread;
use std::time::{Duration, Instant};

use rustix::net::sockopt::set_socket_recv_buffer_size_force;

use crate::bad_network::{BadNetwork, counter};

/// What comes after the number and the time.
const REST: [u8; 80] = [0x5a; 80];
const NUMBER: usize = 4;
const TIME: usize = 8;
/// All of a packet, with the headers of IP and UDP.
const PACKET: usize = 20 + 8 + NUMBER + TIME + REST.len();
const IP_HEADER: usize = 20;

/// Room for what arrives at once.
const RECEIVE_BUFFER: usize = 16 << 20;

/// How long nothing must arrive, beyond the delay, for all to have arrived.
const SILENCE: Duration = Duration::from_secs(1);

/// What became of packets that were sent one after the other.
struct Measured {
    sent: usize,
    /// In the order of their arrival.
    arrivals: Vec<Arrival>,
    /// Packets whose checksum the receiver found wrong.
    checksum_errors: u64,
    /// What the relay told in the end.
    told: String,
}

struct Arrival {
    number: usize,
    delay: Duration,
}

impl Measured {
    /// How often each packet arrived.
    fn times(&self) -> Vec<usize> {
        let mut times = vec![0; self.sent];
        for arrival in &self.arrivals {
            times[arrival.number] += 1;
        }
        times
    }

    fn milliseconds(&self) -> Vec<f64> {
        self.arrivals.iter().map(|arrival| arrival.delay.as_secs_f64() * 1e3).collect()
    }
}

/// Sends packets, a millisecond apart, and waits until nothing arrives any more.
fn measure(spec: &str, packets: usize) -> Measured {
    measure_at("127.0.0.1", spec, packets, Duration::from_millis(1))
}

fn measure_at(address: &str, spec: &str, packets: usize, pause: Duration) -> Measured {
    let network = BadNetwork::new(spec);
    let (arrivals, checksum_errors) = network.within(|| {
        let receiver = UdpSocket::bind((address, 0)).unwrap();
        receiver.set_read_timeout(Some(SILENCE)).unwrap();
        set_socket_recv_buffer_size_force(&receiver, RECEIVE_BUFFER).unwrap();
        let sender = UdpSocket::bind((address, 0)).unwrap();
        sender.connect(receiver.local_addr().unwrap()).unwrap();
        let began = Instant::now();
        let arrivals = thread::scope(|scope| {
            let arrivals = scope.spawn(|| receive(&receiver, began));
            send(&sender, began, packets, pause);
            arrivals.join().unwrap()
        });
        let protocol = if address.contains(':') { 0 } else { counter("Udp", "InCsumErrors") };
        (arrivals, protocol)
    });
    Measured { sent: packets, arrivals, checksum_errors, told: network.finish() }
}

fn send(sender: &UdpSocket, began: Instant, packets: usize, pause: Duration) {
    for number in 0..u32::try_from(packets).unwrap() {
        let due = pause * number;
        thread::sleep(due.saturating_sub(began.elapsed()));
        let time = u64::try_from(began.elapsed().as_nanos()).unwrap();
        sender.send(&[&number.to_be_bytes()[..], &time.to_be_bytes(), &REST].concat()).unwrap();
    }
}

/// All that arrives, which must be what was sent.
fn receive(receiver: &UdpSocket, began: Instant) -> Vec<Arrival> {
    let mut arrivals = Vec::new();
    let mut bytes = [0; 2048];
    while let Ok(length) = receiver.recv(&mut bytes) {
        let (number, rest) = bytes[..length].split_at(NUMBER);
        let (time, rest) = rest.split_at(TIME);
        assert_eq!(rest, REST, "a corrupted packet was delivered");
        let number = u32::from_be_bytes(number.try_into().unwrap()) as usize;
        let sent = Duration::from_nanos(u64::from_be_bytes(time.try_into().unwrap()));
        arrivals.push(Arrival { number, delay: began.elapsed() - sent });
    }
    arrivals
}

/// That a share is what it should be, within five standard deviations.
fn assert_share(what: &str, count: usize, of: usize, expected: f64) {
    let share = count as f64 / of as f64;
    let deviation = (expected * (1.0 - expected) / of as f64).sqrt();
    assert!((share - expected).abs() < 5.0 * deviation, "{what}: {share:.4} of {of}, expected {expected:.4}");
}

fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Pearson's correlation of each value with the next.
fn correlation(values: &[f64]) -> f64 {
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    let variance: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    let products: f64 = values.windows(2).map(|pair| (pair[0] - mean) * (pair[1] - mean)).sum();
    products / variance
}

#[test]
#[ignore = "needs root"]
fn a_clean_network_delivers_everything_at_once_and_in_order() {
    let measured = measure("limit 1000", 1000);
    let order: Vec<usize> = measured.arrivals.iter().map(|arrival| arrival.number).collect();
    assert_eq!(order, (0..1000).collect::<Vec<_>>());
    let median = median(&measured.milliseconds());
    assert!(median < 2.0, "{median}");
}

#[test]
#[ignore = "needs root"]
fn packets_are_delayed_and_none_of_them_less() {
    for (spec, delay) in [("delay 1ms", 1.0), ("delay 100ms", 100.0)] {
        let measured = measure(spec, 500);
        let delays = measured.milliseconds();
        assert_eq!(measured.times(), [1; 500]);
        let least = delays.iter().copied().fold(f64::INFINITY, f64::min);
        assert!(least >= delay, "{spec}: {least}");
        assert!(median(&delays) < delay + 2.0, "{spec}: {}", median(&delays));
        assert!(measured.told.contains("500 packets, "), "{}", measured.told);
    }
}

#[test]
#[ignore = "needs root"]
fn jitter_is_evenly_spread_and_lets_packets_overtake_each_other() {
    let measured = measure("delay 100ms 40ms", 2000);
    let delays = measured.milliseconds();
    assert_eq!(delays.len(), 2000);
    assert!(delays.iter().all(|delay| *delay >= 60.0));
    for (from, expected) in [(60.0, 0.25), (80.0, 0.25), (100.0, 0.25), (120.0, 0.25)] {
        // Those that are late by a little belong to the quarter before.
        let count = delays.iter().filter(|delay| (from..from + 20.0).contains(&(**delay - 0.5))).count();
        assert!((count as f64 / 2000.0 - expected).abs() < 0.08, "{count} from {from} ms on");
    }
    let overtaken = measured.arrivals.windows(2).filter(|pair| pair[0].number > pair[1].number).count();
    assert!(overtaken > 500, "{overtaken}");
}

#[test]
#[ignore = "needs root"]
fn correlated_delays_follow_each_other() {
    let by_number = |spec| {
        let mut measured = measure(spec, 1500);
        measured.arrivals.sort_by_key(|arrival| arrival.number);
        correlation(&measured.milliseconds())
    };
    let (independent, correlated) = (by_number("delay 100ms 50ms"), by_number("delay 100ms 50ms 90%"));
    assert!(independent.abs() < 0.2, "{independent}");
    assert!(correlated > 0.6, "{correlated}");
}

#[test]
#[ignore = "needs root"]
fn packets_are_lost_and_with_a_correlation_in_bursts() {
    let lost = |spec| measure(spec, 4000).times().iter().map(|times| *times == 0).collect::<Vec<bool>>();
    let bursts = |lost: &[bool]| {
        let all = lost.iter().filter(|lost| **lost).count() as f64;
        let after_another = lost.windows(2).filter(|pair| pair[0] && pair[1]).count() as f64;
        (after_another / all) / (all / lost.len() as f64)
    };
    let independent = lost("loss 20%");
    assert_share("lost", independent.iter().filter(|lost| **lost).count(), 4000, 0.2);
    assert!((bursts(&independent) - 1.0).abs() < 0.3, "{}", bursts(&independent));
    let correlated = lost("loss 30% 50%");
    assert!(bursts(&correlated) > 1.7, "{}", bursts(&correlated));
}

#[test]
#[ignore = "needs root"]
fn packets_are_duplicated_also_over_ipv6() {
    for address in ["127.0.0.1", "::1"] {
        let measured = measure_at(address, "delay 20ms duplicate 25%", 2000, Duration::from_millis(1));
        let times = measured.times();
        assert!(times.iter().all(|times| (1..=2).contains(times)), "{address}");
        assert_share("duplicated", times.iter().filter(|times| **times == 2).count(), 2000, 0.25);
    }
}

#[test]
#[ignore = "needs root"]
fn some_packets_are_sent_at_once() {
    let measured = measure("delay 100ms reorder 25%", 2000);
    let at_once = measured.milliseconds().iter().filter(|delay| **delay < 100.0).count();
    assert_share("sent at once", at_once, 2000, 0.25);

    let mut measured = measure("delay 200ms reorder 100% gap 5", 200);
    measured.arrivals.sort_by_key(|arrival| arrival.number);
    let at_once: Vec<bool> = measured.milliseconds().iter().map(|delay| *delay < 200.0).collect();
    assert!(at_once.chunks(5).all(|five| five == [false, false, false, false, true]), "{at_once:?}");
}

/// Where the bit is in the header of IP, that is what notices; elsewhere the checksum of UDP.
#[test]
#[ignore = "needs root"]
fn the_receiver_notices_every_corrupted_packet() {
    let measured = measure("corrupt 30%", 3000);
    assert_share("whole", measured.arrivals.len(), 3000, 0.7);
    let covered = (PACKET - IP_HEADER) as f64 / PACKET as f64;
    assert_share("with a wrong checksum", measured.checksum_errors.try_into().unwrap(), 3000, 0.3 * covered);
    assert_eq!(measure("corrupt 100%", 1000).arrivals.len(), 0);

    let measured = measure_at("::1", "corrupt 30%", 3000, Duration::from_millis(1));
    // Of the header of IPv6 no checksum covers the traffic class, the flow label and the hop limit: 36 bits.
    let unnoticed = 0.3 * 36.0 / ((PACKET + 20) * 8) as f64;
    assert_share("whole", measured.arrivals.len(), 3000, 0.7 + unnoticed);
}

#[test]
#[ignore = "needs root"]
fn no_more_than_the_limit_are_under_way() {
    let measured = measure_at("127.0.0.1", "delay 300ms limit 10", 100, Duration::ZERO);
    assert_eq!(measured.arrivals.len(), 10);
    assert!(measured.told.contains("90 dropped, as 10 were under way"), "{}", measured.told);
}

#[test]
#[ignore = "needs root"]
fn a_burst_does_not_overrun_the_relay() {
    let measured = measure_at("127.0.0.1", "delay 100ms limit 100000", 5000, Duration::ZERO);
    assert_eq!(measured.arrivals.len(), 5000, "{}", measured.told);
}
