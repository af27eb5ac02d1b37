//! What a node knows of itself: one place that the loop and the disk tell, and from which others read.
//!
//! ```text
//!    loop    on_told    --> proposal to commit, commits in a second, elections, leaders
//!    writer  on_synced  --> syncs of the log; one that is slow is an event
//!    anybody            --> events (Ring::say)
//! ```
//!
//! What is measured goes to the instruments as well.
//!
//! Whoever tells never waits longer than somebody reads, and what is kept has a fixed size.

mod proposals;
mod rate;
mod window;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::events::{Kind, Level, Ring};
use super::metrics::Process;
use super::{Instruments, Telemetry};
use crate::ids::{ShardId, Term};
use crate::raft::{Event, RoleName};
use crate::replica::Told;
use crate::storage::Synced;
use crate::transport::Throttle;
use proposals::Proposals;
use rate::Rate;
use window::Window;

pub use window::Latency;

/// A sync that takes longer than this is told as an event: a disk in good health takes a hundredth of it.
const SYNC_SLOW: Duration = Duration::from_millis(100);

/// So often at most.
const SYNC_SLOW_INTERVAL: Duration = Duration::from_secs(10);

/// The vital signs of one node. Clones share them.
#[derive(Clone, Debug)]
pub struct Vitals {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    telemetry: Telemetry,
    started: Instant,
    events: Ring,
    syncs: Mutex<Window>,
    commits: Mutex<Commits>,
    elections: AtomicU64,
    leader_changes: AtomicU64,
    /// The last term of each shard whose leader the node came to know: a term has one leader.
    led_terms: Mutex<BTreeMap<ShardId, Term>>,
    slow_syncs: Throttle,
}

/// What the loop has told of its commits.
#[derive(Debug)]
struct Commits {
    proposals: Proposals,
    latency: Window,
    rate: Rate,
}

impl Vitals {
    /// Of a node that starts. What is measured goes to `telemetry` as well.
    pub fn new(telemetry: Telemetry) -> Self {
        let started = Instant::now();
        let commits =
            Commits { proposals: Proposals::default(), latency: Window::new(started), rate: Rate::new(started) };
        let shared = Shared {
            telemetry,
            started,
            events: Ring::new(),
            syncs: Mutex::new(Window::new(started)),
            commits: Mutex::new(commits),
            elections: AtomicU64::new(0),
            leader_changes: AtomicU64::new(0),
            led_terms: Mutex::default(),
            slow_syncs: Throttle::new(SYNC_SLOW_INTERVAL),
        };
        Self { shared: Arc::new(shared) }
    }

    /// A replica tells something.
    pub fn on_told(&self, shard: ShardId, told: &Told) {
        let event = match told {
            Told::Raft(event) => event,
            Told::Applied { first, last } => {
                let Commits { proposals, rate, .. } = &mut *self.commits();
                return rate.add(Instant::now(), proposals.on_applied(shard, *first, *last));
            }
            _ => return,
        };
        match event {
            Event::Proposed { first, last } => {
                self.measure(|instruments| instruments.proposed(last.index.0 + 1 - first.index.0));
                self.commits().proposals.on_proposed(shard, last.index, Instant::now());
            }
            Event::Committed { index } => {
                let now = Instant::now();
                let Commits { proposals, latency, .. } = &mut *self.commits();
                proposals.on_committed(shard, *index, |proposed| {
                    latency.record(now, now - proposed);
                    self.measure(|instruments| instruments.committed(now - proposed));
                });
            }
            Event::RoleChanged { role, term, .. } => self.on_role(shard, *role, *term),
            Event::FollowsLeader { term, .. } => self.on_leader(shard, *term),
            _ => {}
        }
    }

    /// The disk has made something durable.
    pub fn on_synced(&self, synced: &Synced) {
        let took = synced.sync_took();
        self.measure(|instruments| instruments.synced(synced));
        self.syncs().record(synced.ended, took);
        if took > SYNC_SLOW
            && let Some(more) = self.shared.slow_syncs.pass()
        {
            let more =
                if more == 0 { String::new() } else { format!("; {more} more were slow since the last such line") };
            let words = format!("waited {} ms for its disk to sync the log{more}", took.as_millis());
            self.events().say(Kind::Disk, Level::Warn, "slow_sync", words, None);
        }
    }

    /// What happened.
    pub fn events(&self) -> &Ring {
        &self.shared.events
    }

    /// How long the node has run.
    pub fn uptime(&self) -> Duration {
        self.shared.started.elapsed()
    }

    /// Resident memory of the process, in bytes; none where the system does not tell.
    pub fn memory_bytes(&self) -> Option<u64> {
        Process::resident_bytes_now()
    }

    /// How long syncs of the log took in the last minute.
    pub fn sync_latency(&self) -> Latency {
        self.syncs().latency(Instant::now())
    }

    /// How long it took from a proposal to its commit in the last minute. What was proposed together counts once.
    pub fn commit_latency(&self) -> Latency {
        self.commits().latency.latency(Instant::now())
    }

    /// Entries that were committed and applied in a second, over the last ten seconds. What came with a snapshot, or was committed
    /// before the node started, does not count.
    pub fn commits_per_second(&self) -> f64 {
        self.commits().rate.per_second(Instant::now())
    }

    /// How often the node asked for votes in a term of its own.
    pub fn elections(&self) -> u64 {
        self.shared.elections.load(Ordering::Relaxed)
    }

    /// How often it came to know the leader of another term, itself included.
    pub fn leader_changes(&self) -> u64 {
        self.shared.leader_changes.load(Ordering::Relaxed)
    }

    fn on_role(&self, shard: ShardId, role: RoleName, term: Term) {
        match role {
            RoleName::Leader => self.on_leader(shard, term),
            RoleName::Candidate => {
                self.shared.elections.fetch_add(1, Ordering::Relaxed);
                self.measure(Instruments::election);
            }
            RoleName::Follower | RoleName::PreCandidate => {}
        }
        // Of what it proposed before, another leader decides.
        self.commits().proposals.forget(shard);
    }

    /// Whoever asks around in vain and goes back to the leader of its term has seen no other.
    fn on_leader(&self, shard: ShardId, term: Term) {
        let mut led_terms = self.shared.led_terms.lock().unwrap_or_else(PoisonError::into_inner);
        if led_terms.insert(shard, term) == Some(term) {
            return;
        }
        self.shared.leader_changes.fetch_add(1, Ordering::Relaxed);
        self.measure(Instruments::leader_change);
    }

    fn measure(&self, record: impl FnOnce(&Instruments)) {
        if let Some(instruments) = &self.shared.telemetry.sinks.instruments {
            record(instruments);
        }
    }

    /// Numbers, right at any time: good also when somebody panicked with the lock.
    fn syncs(&self) -> MutexGuard<'_, Window> {
        self.shared.syncs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// As `syncs`.
    fn commits(&self) -> MutexGuard<'_, Commits> {
        self.shared.commits.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{EntryId, Index, NodeId, SHARD_0, Term};

    fn tell(vitals: &Vitals, event: Event) {
        vitals.on_told(SHARD_0, &Told::Raft(event));
    }

    fn synced(took: Duration) -> Synced {
        let began = Instant::now();
        Synced { writes: Vec::new(), entries: 1, bytes: 1, began, written: began, ended: began + took }
    }

    fn role(role: RoleName) -> Event {
        Event::RoleChanged { role, term: Term(2), cause: "of a test" }
    }

    #[test]
    fn elections_and_leaders_are_counted() {
        let vitals = Vitals::new(Telemetry::default());
        for event in [role(RoleName::PreCandidate), role(RoleName::Candidate), role(RoleName::Leader)] {
            tell(&vitals, event);
        }
        tell(&vitals, role(RoleName::Follower));
        tell(&vitals, Event::FollowsLeader { leader: NodeId(2), term: Term(3) });
        assert_eq!((vitals.elections(), vitals.leader_changes()), (1, 2));
    }

    /// A pre-vote raises no term.
    #[test]
    fn who_goes_back_to_its_leader_has_no_other() {
        let vitals = Vitals::new(Telemetry::default());
        for _ in 0..5 {
            tell(&vitals, Event::FollowsLeader { leader: NodeId(2), term: Term(2) });
            tell(&vitals, role(RoleName::PreCandidate));
            tell(&vitals, role(RoleName::Follower));
        }
        assert_eq!(vitals.leader_changes(), 1);
        tell(&vitals, Event::FollowsLeader { leader: NodeId(2), term: Term(4) });
        assert_eq!(vitals.leader_changes(), 2);
    }

    /// An installed snapshot raises the commit index at once, and nothing of it is committed in this moment.
    #[test]
    fn a_snapshot_is_no_rate_of_commits() {
        let vitals = Vitals::new(Telemetry::default());
        tell(&vitals, Event::Committed { index: Index(1_000) });
        tell(&vitals, Event::Committed { index: Index(5_000_000) });
        assert_eq!(vitals.commits_per_second(), 0.0);
        tell(&vitals, Event::Committed { index: Index(5_000_001) });
        vitals.on_told(SHARD_0, &Told::Applied { first: Index(5_000_001), last: Index(5_000_001) });
        assert_eq!(vitals.commits_per_second(), 1.0);
    }

    #[test]
    fn what_a_leader_proposes_is_measured_until_it_leads_no_more() {
        let vitals = Vitals::new(Telemetry::default());
        let propose = |index| {
            let id = EntryId::new(Term(2), Index(index));
            tell(&vitals, Event::Proposed { first: id, last: id });
        };
        tell(&vitals, Event::Committed { index: Index(1) });
        propose(2);
        propose(3);
        tell(&vitals, Event::Committed { index: Index(2) });
        assert_eq!(vitals.commit_latency().count, 1);
        tell(&vitals, role(RoleName::Follower));
        tell(&vitals, Event::Committed { index: Index(3) });
        assert_eq!(vitals.commit_latency().count, 1);
        vitals.on_told(SHARD_0, &Told::Applied { first: Index(2), last: Index(3) });
        assert!(vitals.commits_per_second() > 0.0);
    }

    #[test]
    fn a_slow_sync_is_an_event_now_and_then() {
        let vitals = Vitals::new(Telemetry::default());
        vitals.on_synced(&synced(Duration::from_millis(1)));
        assert!(vitals.events().after(0, 0, 10).events.is_empty());
        for _ in 0..100 {
            vitals.on_synced(&synced(Duration::from_millis(250)));
        }
        let page = vitals.events().after(0, 0, 10);
        let [event] = &page.events[..] else { panic!("{page:?}") };
        assert_eq!(event.words, "waited 250 ms for its disk to sync the log");
        assert_eq!((event.kind, event.level), (Kind::Disk, Level::Warn));
        assert_eq!(vitals.sync_latency().count, 101);
    }
}
