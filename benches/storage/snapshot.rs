//! What a snapshot costs: the loop of the node, which only clones the state, and the thread that writes it.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use quorate::ids::{ClusterId, EntryId, Index, NodeId, SHARD_0, Sequence, SessionId, Term, Timestamp};
use quorate::raft::{self, CommitQuorum, Configuration};
use quorate::state_machine::{Body, Command, Limits, Operation, QueueName, SessionRequest, StateMachine};
use quorate::storage::snapshot::{Header, Reader, Writer, Written};
use quorate::storage::{Disk, FileDisk};
use rand::RngExt;
use tempfile::TempDir;

use crate::figures::{cpu_seconds, highest, median, mib};

const MESSAGES: u64 = 1_000_000;
const SESSIONS: u64 = 10_000;
const QUEUES: u64 = 100;
const APPLIES: usize = 1_000;
const ROUNDS: usize = 21;

/// What one snapshot took. Seconds.
struct Round {
    /// Some applies with no snapshot under way, and as many right after the clone.
    alone: Applies,
    clone: f64,
    beside: Applies,
    drop: f64,
    write: f64,
    living: f64,
    bytes: u64,
    read: f64,
}

/// How long some applies took. Seconds.
struct Applies {
    /// Of the processor, all together.
    cpu: f64,
    /// The slowest one.
    slowest: f64,
}

impl Round {
    /// What the loop spends for the snapshot within the next applies, if it were also the one that drops the clone.
    fn pause(&self) -> f64 {
        self.clone + self.drop + (self.beside.cpu - self.alone.cpu).max(0.0)
    }
}

pub fn run() {
    let mut load = Load::fill();
    let rounds: Vec<Round> = (0..ROUNDS).map(|_| measure(&mut load)).collect();
    let of = |value: fn(&Round) -> f64| rounds.iter().map(value).collect::<Vec<f64>>();
    let show = |values: Vec<f64>| {
        let worst = highest(values.iter().copied()) * 1e3;
        format!("median {:8.3} ms, worst {worst:8.3} ms", median(values) * 1e3)
    };
    println!(
        "snapshot of {MESSAGES} waiting messages and {SESSIONS} sessions, {ROUNDS} rounds, while the loop goes on:"
    );
    println!("  clone                                  {}", show(of(|round| round.clone)));
    println!("  drop, processor time                   {}", show(of(|round| round.drop)));
    println!("  {APPLIES} applies alone, processor time      {}", show(of(|round| round.alone.cpu)));
    println!("  {APPLIES} right after the clone, likewise    {}", show(of(|round| round.beside.cpu)));
    println!("  pause: clone, drop and slow-down       {}   target: worst under 10", show(of(Round::pause)));
    println!("  the slowest apply alone                {}", show(of(|round| round.alone.slowest)));
    println!("  the slowest apply beside the snapshot  {}", show(of(|round| round.beside.slowest)));
    println!("beside the loop:");
    println!("  write and sync                         {}", show(of(|round| round.write)));
    println!("  list what lives, processor time        {}", show(of(|round| round.living)));
    println!("  read, processor time                   {}", show(of(|round| round.read)));
    let bytes = median(rounds.iter().map(|round| round.bytes as f64).collect());
    let of_each = bytes / MESSAGES as f64;
    println!("  file                                   {:.1} MiB, {of_each:.1} bytes a message", mib(bytes));
}

fn measure(load: &mut Load) -> Round {
    let alone = load.apply();
    let start = Instant::now();
    let copy = load.machine.clone();
    let clone = start.elapsed().as_secs_f64();
    let written = write_elsewhere(copy);
    let beside = load.apply();
    let Elsewhere { write, living, drop, bytes, read } = written.recv().expect("the thread that writes does not panic");
    Round { alone, clone, beside, drop, write, living, bytes, read }
}

/// What is not done by the loop.
struct Elsewhere {
    write: f64,
    living: f64,
    drop: f64,
    bytes: u64,
    read: f64,
}

/// Writes the state on a thread, which begins at once, and reads it again.
fn write_elsewhere(machine: StateMachine) -> Receiver<Elsewhere> {
    let (done, written) = channel();
    thread::spawn(move || {
        let directory = TempDir::new().unwrap();
        let disk: Arc<dyn Disk> = Arc::new(FileDisk::new(directory.path()));
        let start = Instant::now();
        let file = write(&disk, &machine);
        let write = start.elapsed().as_secs_f64();
        let (_, living) = on_the_processor(|| machine.living());
        let digest = machine.digest();
        let (_, drop) = on_the_processor(|| drop(machine));
        let (read, read_took) = on_the_processor(|| read(&disk, &file.temporary));
        assert_eq!(read.digest(), digest, "another state was read than was written");
        let bytes = file.bytes;
        done.send(Elsewhere { write, living, drop, bytes, read: read_took }).expect("it is waited for");
    });
    written
}

fn write(disk: &Arc<dyn Disk>, machine: &StateMachine) -> Written {
    let configuration = Configuration::of_one(NodeId(1), CommitQuorum::Majority);
    let last = EntryId::new(Term(1), Index(1));
    let header = Header {
        cluster: ClusterId(1),
        shard: SHARD_0,
        snapshot: raft::Snapshot { last, configuration, configuration_index: Index(1) },
        settled: [NodeId(1)].into(),
        removed: Default::default(),
        addresses: Vec::new(),
    };
    let mut writer = Writer::create(disk.clone(), &header).unwrap();
    machine.write_blocks(|block| writer.write_block(block)).unwrap();
    writer.finish().unwrap()
}

fn read(disk: &Arc<dyn Disk>, name: &str) -> StateMachine {
    let reader = Reader::open(&**disk, name).unwrap();
    StateMachine::read_blocks(Limits::default(), reader).unwrap()
}

fn on_the_processor<T>(work: impl FnOnce() -> T) -> (T, f64) {
    let start = cpu_seconds();
    let made = work();
    (made, cpu_seconds() - start)
}

/// A state and who changes it: requests of sessions drawn at random, half of them enqueue sixteen messages and half take as many, so
/// that the state stays as large as it is.
struct Load {
    machine: StateMachine,
    queues: Vec<QueueName>,
    index: u64,
    sequences: Vec<u64>,
}

const BATCH: u64 = 16;

impl Load {
    fn fill() -> Self {
        let name = |number| QueueName::try_from(format!("queue-{number}").as_str()).expect("a good name");
        let mut load = Self {
            machine: StateMachine::new(Limits::default()),
            queues: (0..QUEUES).map(name).collect(),
            index: 0,
            sequences: vec![0; SESSIONS as usize],
        };
        for _ in 0..SESSIONS {
            load.execute(None, vec![Operation::OpenSession]);
        }
        for number in 0..MESSAGES / BATCH {
            let operations = load.enqueues(number % QUEUES);
            load.execute_in_session(number % SESSIONS, operations);
        }
        load
    }

    fn apply(&mut self) -> Applies {
        let mut commands = Vec::new();
        for number in 0..APPLIES as u64 {
            let queue = rand::rng().random_range(0..QUEUES);
            let operations = if number % 2 == 0 { self.enqueues(queue) } else { self.dequeues(queue) };
            commands.push((rand::rng().random_range(0..SESSIONS), operations));
        }
        let mut slowest = Duration::ZERO;
        let (_, cpu) = on_the_processor(|| {
            for (session, operations) in commands {
                let start = Instant::now();
                self.execute_in_session(session, operations);
                slowest = slowest.max(start.elapsed());
            }
        });
        Applies { cpu, slowest: slowest.as_secs_f64() }
    }

    fn enqueues(&self, queue: u64) -> Vec<Operation> {
        let queue = self.queues[queue as usize].clone();
        let body = Body::Data(Bytes::from_static(&[7; 256]));
        vec![Operation::Enqueue { queue, message: body.into(), delay: Duration::ZERO }; BATCH as usize]
    }

    fn dequeues(&self, queue: u64) -> Vec<Operation> {
        let queue = self.queues[queue as usize].clone();
        vec![Operation::Dequeue { queue, wait: false }; BATCH as usize]
    }

    /// The session with this number was opened by the entry after it.
    fn execute_in_session(&mut self, session: u64, operations: Vec<Operation>) {
        let sequence = &mut self.sequences[session as usize];
        *sequence += 1;
        let (id, sequence) = (SessionId(session + 1), Sequence(*sequence));
        self.execute(Some(SessionRequest { id, sequence, lowest_pending: sequence }), operations);
    }

    fn execute(&mut self, session: Option<SessionRequest>, operations: Vec<Operation>) {
        self.index += 1;
        let timestamp = Timestamp(1_000 + self.index / 10);
        self.machine.apply(Index(self.index), &Command { session, timestamp, operations, expiry: false });
    }
}
