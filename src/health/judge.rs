//! From what is seen of a node, several times a second, to how it is. No clock, no node: the time comes with what is seen.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::condition::{
    ANSWERS, CAUGHT_UP, Condition, GOES_ON, HEARD_NOBODY, MEMBER, RECOVERED, STAYS, TURNS, VOTES, Verdict,
};
use crate::ids::Index;
use crate::node::Phase;

/// A loop that has not turned for so long does not serve. It turns at least every half second, also when nothing happens.
const STALL_MAX: Duration = Duration::from_secs(2);

/// A loop that has not turned for so long never will: twenty turns are missing, and the longest single one, in which a large
/// snapshot is installed, takes a second or two.
const HANG_MAX: Duration = Duration::from_secs(10);

/// A leader that is heard of needs so long to tell all that is committed: its heartbeats name no more than what it knows this
/// node to have, and the appends that name all come after.
const LEADER_SETTLES: Duration = Duration::from_millis(500);

/// A node has caught up while it has applied all that it had heard was committed so long ago. Under load there is always an
/// entry that was committed and is not applied yet, so that "everything by now" would hold one moment and not the next.
/// A disk or a processor that is busy for a moment costs less than this; whoever reads what is this old should ask another node.
const LAG_MAX: Duration = Duration::from_secs(5);

/// More than there are looks in `LAG_MAX`.
const GOALS_MAX: usize = 64;

/// What is seen of a node at one moment.
#[derive(Clone, Debug)]
pub(super) struct Sight {
    pub(super) phase: Phase,
    /// Why it cannot go on; none: it can.
    pub(super) failure: Option<String>,
    /// What it waits for before it can take part; empty: nothing.
    pub(super) waits_for: String,
    /// How often its loop has turned.
    pub(super) turns: u64,
    /// None before its loop turns.
    pub(super) replica: Option<ReplicaSight>,
}

/// What is seen of its replica.
#[derive(Clone, Debug)]
pub(super) struct ReplicaSight {
    pub(super) is_member: bool,
    pub(super) vote: Vote,
    pub(super) removed: Option<Index>,
    pub(super) quarantined: Option<String>,
    pub(super) knows_leader: bool,
    pub(super) applied: Index,
    pub(super) heard_commit: Index,
}

/// Whether a member has a vote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Vote {
    /// It has one.
    Votes,
    /// It is a learner that is to get one, or whose promotion is not finished. Who took it for a voter would stop the next one
    /// too early: the node that it replaces is still counted.
    ToCome,
    /// It is a learner that is meant to stay one.
    NotMeantTo,
}

/// Judges a node by what is seen of it and what was seen before.
#[derive(Debug)]
pub(super) struct Judge {
    turning: Turning,
    catching_up: CatchingUp,
}

impl Judge {
    /// Judges one that has just started. When it has heard of no leader for `leader_wait`, it may be that there is none: it is
    /// waited for no longer.
    pub(super) fn new(leader_wait: Duration) -> Self {
        Self { turning: Turning::default(), catching_up: CatchingUp::new(leader_wait) }
    }

    pub(super) fn judge(&mut self, now: Instant, sight: &Sight) -> Verdict {
        let stands_for = self.turning.look(now, sight);
        let turns = |limit| match stands_for.filter(|time| *time > limit) {
            None => Condition::holds(TURNS),
            Some(time) => Condition::missing(TURNS, format!("it has not for {} s", time.as_secs())),
        };
        let caught_up = match &sight.replica {
            None => Condition::missing(CAUGHT_UP, "does not take part yet"),
            Some(replica) => self.catching_up.look(now, replica),
        };
        let live = vec![Condition::holds(ANSWERS), turns(HANG_MAX)];
        let ready = vec![
            Condition::holds(RECOVERED),
            membership(sight),
            vote(sight),
            caught_up,
            turns(STALL_MAX),
            going_on(sight),
        ];
        Verdict { live, ready }
    }
}

fn membership(sight: &Sight) -> Condition {
    let why = match &sight.replica {
        None if sight.waits_for.is_empty() => "applies for membership".to_owned(),
        None => sight.waits_for.clone(),
        Some(ReplicaSight { quarantined: Some(why), .. }) => {
            format!("stands still, because what it saw cannot be safe: {why}")
        }
        Some(ReplicaSight { removed: Some(index), .. }) => format!("was removed from it at index {index}"),
        Some(replica) if !replica.is_member => "has not received the entry that makes it one".to_owned(),
        Some(_) => return Condition::holds(MEMBER),
    };
    Condition::missing(MEMBER, why)
}

fn vote(sight: &Sight) -> Condition {
    match sight.replica.as_ref().filter(|replica| replica.is_member).map(|replica| replica.vote) {
        None => Condition::missing(VOTES, "only a member can"),
        Some(Vote::Votes) => Condition::holds(VOTES),
        Some(Vote::ToCome) => Condition::missing(VOTES, "is a learner, which gets a vote once it has caught up"),
        Some(Vote::NotMeantTo) => Condition::holds(STAYS),
    }
}

fn going_on(sight: &Sight) -> Condition {
    match (sight.phase, &sight.failure) {
        (_, Some(why)) => Condition::missing(GOES_ON, format!("cannot go on: {why}")),
        (Phase::Joining | Phase::Serving, None) => Condition::holds(GOES_ON),
        (Phase::HandingOver | Phase::Draining | Phase::Stopped, None) => {
            Condition::missing(GOES_ON, "was told to stop")
        }
    }
}

/// Since when the loop has turned so often and no oftener.
#[derive(Debug, Default)]
struct Turning {
    last: Option<(u64, Instant)>,
}

impl Turning {
    /// For how long the loop has not turned; none where there is no loop to judge.
    fn look(&mut self, now: Instant, sight: &Sight) -> Option<Duration> {
        // It begins to turn a moment after the node serves, and ends with it.
        if sight.replica.is_none() || sight.phase == Phase::Stopped {
            self.last = None;
            return None;
        }
        let (turns, since) = self.last.get_or_insert((sight.turns, now));
        if *turns != sight.turns {
            (*turns, *since) = (sight.turns, now);
        }
        Some(now - *since)
    }
}

/// How far behind a node is, in time: what it has heard to be committed is a goal, and when it has applied that much, it has
/// caught up as of the moment at which the goal was set.
#[derive(Debug)]
struct CatchingUp {
    leader_wait: Duration,
    began: Option<Instant>,
    leader_since: Option<Instant>,
    /// Goals that are not reached, none older than `LAG_MAX`, and at most `GOALS_MAX`: at the limit none is added.
    goals: VecDeque<(Index, Instant)>,
    as_of: Option<Instant>,
}

impl CatchingUp {
    fn new(leader_wait: Duration) -> Self {
        Self { leader_wait, began: None, leader_since: None, goals: VecDeque::new(), as_of: None }
    }

    /// What is found out only from a leader is not said before one was heard: the log on the disk may have an end that was never
    /// committed, and lack what was. Later the node may hear of no leader for any time.
    fn look(&mut self, now: Instant, replica: &ReplicaSight) -> Condition {
        let began = *self.began.get_or_insert(now);
        if replica.knows_leader {
            self.leader_since.get_or_insert(now);
        }
        match self.leader_since {
            None if now - began < self.leader_wait => {
                let wait = humantime::format_duration(self.leader_wait);
                Condition::missing(CAUGHT_UP, format!("waits, for up to {wait} after its start, to hear of a leader"))
            }
            None => Condition::holds(HEARD_NOBODY),
            Some(since) if now - since < LEADER_SETTLES => {
                Condition::missing(CAUGHT_UP, "hears from the leader how much is committed")
            }
            Some(_) => Condition { what: CAUGHT_UP, missing: self.lag(now, replica.applied, replica.heard_commit) },
        }
    }

    /// How far the node is behind, if it is.
    fn lag(&mut self, now: Instant, applied: Index, heard: Index) -> Option<String> {
        while let Some((_, set_at)) = self.goals.pop_front_if(|(goal, _)| *goal <= applied) {
            self.as_of = Some(set_at);
        }
        while self.goals.pop_front_if(|(_, set_at)| now - *set_at > LAG_MAX).is_some() {}
        if applied >= heard {
            self.as_of = Some(now);
        } else if self.goals.len() < GOALS_MAX && self.goals.back().is_none_or(|(goal, _)| *goal < heard) {
            self.goals.push_back((heard, now));
        }
        let has_caught_up = self.as_of.is_some_and(|as_of| now - as_of <= LAG_MAX);
        (!has_caught_up).then(|| format!("applied {applied} of {heard} entries that it heard were committed"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::condition::first_missing;

    const LEADER_WAIT: Duration = Duration::from_secs(90);

    /// A node that is looked at every 200 ms.
    struct Looked {
        judge: Judge,
        now: Instant,
        sight: Sight,
    }

    impl Looked {
        /// A follower that knows its leader, and has applied so much of what it has heard of.
        fn follower(applied: u64, heard_commit: u64) -> Self {
            let replica = ReplicaSight {
                is_member: true,
                vote: Vote::Votes,
                removed: None,
                quarantined: None,
                knows_leader: true,
                applied: Index(applied),
                heard_commit: Index(heard_commit),
            };
            let sight = Sight {
                phase: Phase::Serving,
                failure: None,
                waits_for: String::new(),
                turns: 1,
                replica: Some(replica),
            };
            Self { judge: Judge::new(LEADER_WAIT), now: Instant::now(), sight }
        }

        fn replica(&mut self) -> &mut ReplicaSight {
            self.sight.replica.as_mut().unwrap()
        }

        /// Why it is not ready after so many seconds more, in which its loop turns.
        fn unready_after(&mut self, seconds: f64) -> Option<String> {
            self.look_for(seconds, 1, |_| {});
            let verdict = self.judge.judge(self.now, &self.sight);
            assert!(verdict.is_live(), "{verdict:?}");
            first_missing(&verdict.ready).map(ToString::to_string)
        }

        fn look_for(&mut self, seconds: f64, turns: u64, mut happens: impl FnMut(&mut ReplicaSight)) -> Vec<bool> {
            let mut seen = Vec::new();
            for _ in 0..(seconds / 0.2).round() as u64 {
                self.now += Duration::from_millis(200);
                self.sight.turns += turns;
                if let Some(replica) = &mut self.sight.replica {
                    happens(replica);
                }
                seen.push(self.judge.judge(self.now, &self.sight).is_ready());
            }
            seen
        }
    }

    #[test]
    fn a_node_that_lags_is_not_ready_and_says_how_far_it_is() {
        let mut node = Looked::follower(1200, 5000);
        let lags = "[ ] has caught up: applied 1200 of 5000 entries that it heard were committed";
        assert_eq!(node.unready_after(60.0).as_deref(), Some(lags));
        node.replica().applied = Index(5000);
        assert_eq!(node.unready_after(0.2), None);
    }

    /// Every moment something is committed that is not applied yet: a little, or as much as arrives in four seconds.
    #[test]
    fn a_node_under_load_is_ready_all_the_time() {
        for behind in [1, 4000] {
            let mut node = Looked::follower(10_000, 10_000);
            assert_eq!(node.unready_after(1.0), None);
            let ready = node.look_for(120.0, 1, |replica| {
                replica.heard_commit = Index(replica.heard_commit.0 + 200);
                replica.applied = Index(replica.heard_commit.0 - behind).max(replica.applied);
            });
            assert!(ready.iter().all(|ready| *ready), "{behind} behind: {ready:?}");
        }
    }

    #[test]
    fn a_node_that_falls_behind_is_ready_no_longer_and_becomes_so_once() {
        let mut node = Looked::follower(10, 10);
        assert_eq!(node.unready_after(1.0), None);
        let mut ready = node.look_for(20.0, 1, |replica| replica.heard_commit = Index(replica.heard_commit.0 + 200));
        ready.extend(node.look_for(60.0, 1, |replica| {
            replica.heard_commit = Index(replica.heard_commit.0 + 200);
            replica.applied = Index(replica.applied.0 + 700).min(replica.heard_commit);
        }));
        let changes: Vec<bool> = ready.chunk_by(|one, next| one == next).map(|same| same[0]).collect();
        assert_eq!(changes, [true, false, true]);
    }

    #[test]
    fn a_leader_is_waited_for_at_the_start_only_and_not_for_ever() {
        let mut node = Looked::follower(7, 7);
        node.replica().knows_leader = false;
        let waits = "[ ] has caught up: waits, for up to 1m 30s after its start, to hear of a leader";
        assert_eq!(node.unready_after(89.0).as_deref(), Some(waits));
        assert_eq!(node.unready_after(2.0), None, "a lost quorum makes nobody unready");
        let told = node.judge.judge(node.now, &node.sight).ready_text();
        assert!(
            told.contains("\n[x] has heard of no leader since it started, and waits for none any more\n"),
            "{told}"
        );
        assert!(!told.contains("caught up"), "nobody knows whether it has: {told}");

        let mut node = Looked::follower(7, 7);
        assert!(node.unready_after(0.2).is_some(), "the leader has just said its first word");
        node.replica().heard_commit = Index(5000);
        assert!(node.unready_after(5.0).is_some(), "what it said later counts");
        node.replica().applied = Index(5000);
        node.replica().knows_leader = false;
        assert_eq!(node.unready_after(60.0), None);
    }

    #[test]
    fn whoever_is_no_member_is_not_ready() {
        let mut node = Looked::follower(7, 7);
        node.replica().is_member = false;
        let why = node.unready_after(60.0).unwrap();
        assert_eq!(why, "[ ] is a member of a cluster: has not received the entry that makes it one");
        node.replica().is_member = true;
        node.replica().removed = Some(Index(6));
        assert_eq!(node.unready_after(60.0).unwrap(), "[ ] is a member of a cluster: was removed from it at index 6");
        node.replica().quarantined = Some("two\nleaders".to_owned());
        let why = node.unready_after(60.0).unwrap();
        assert!(why.ends_with(r"what it saw cannot be safe: two\nleaders"), "{why}");

        node.sight.replica = None;
        node.sight.phase = Phase::Joining;
        assert_eq!(node.unready_after(60.0).unwrap(), "[ ] is a member of a cluster: applies for membership");
        node.sight.waits_for = "waits for b".to_owned();
        assert_eq!(node.unready_after(60.0).unwrap(), "[ ] is a member of a cluster: waits for b");
    }

    #[test]
    fn a_node_that_ends_says_whether_it_was_told_to() {
        let mut node = Looked::follower(7, 7);
        assert_eq!(node.unready_after(1.0), None);
        node.sight.phase = Phase::Stopped;
        assert_eq!(node.unready_after(0.2).unwrap(), "[ ] is not about to stop: was told to stop");
        node.sight.failure = Some("storage: no space left".to_owned());
        let why = "[ ] is not about to stop: cannot go on: storage: no space left";
        assert_eq!(node.unready_after(0.2).unwrap(), why);
    }

    /// Whoever waits for it to be ready stops the next voter then.
    #[test]
    fn a_learner_is_ready_only_where_it_is_to_stay_one() {
        let mut node = Looked::follower(7, 7);
        node.replica().vote = Vote::ToCome;
        let learns = "[ ] votes: is a learner, which gets a vote once it has caught up";
        assert_eq!(node.unready_after(60.0).as_deref(), Some(learns));
        node.replica().vote = Vote::NotMeantTo;
        assert_eq!(node.unready_after(0.2), None);
        let told = node.judge.judge(node.now, &node.sight).ready_text();
        assert!(told.contains("[x] is a learner that is to stay one\n") && !told.contains("votes"), "{told}");
        node.replica().vote = Vote::Votes;
        assert_eq!(node.unready_after(0.2), None);
    }

    #[test]
    fn a_node_that_is_told_to_stop_is_not_ready_at_once() {
        let mut node = Looked::follower(7, 7);
        assert_eq!(node.unready_after(1.0), None);
        node.sight.phase = Phase::HandingOver;
        assert_eq!(node.unready_after(0.0).unwrap(), "[ ] is not about to stop: was told to stop");
    }

    #[test]
    fn a_loop_that_stands_still_is_not_ready_and_then_not_live() {
        let mut node = Looked::follower(7, 7);
        assert_eq!(node.unready_after(1.0), None);
        let mut stand = |seconds| {
            node.look_for(seconds, 0, |_| {});
            node.judge.judge(node.now, &node.sight)
        };
        let verdict = stand(1.6);
        assert!(verdict.is_live() && verdict.is_ready(), "{verdict:?}");
        let verdict = stand(1.0);
        assert!(verdict.is_live() && !verdict.is_ready(), "{verdict:?}");
        let verdict = stand(8.0);
        assert!(!verdict.is_live(), "{verdict:?}");
        assert_eq!(verdict.live_text(), "not live\n[x] answers\n[ ] its loop turns: it has not for 10 s\n");
        node.look_for(0.2, 1, |_| {});
        assert_eq!(node.unready_after(0.0), None, "it turns again");
    }

    /// Where the loop ends, or has not begun, there is nothing that turns.
    #[test]
    fn a_node_without_a_loop_lives() {
        let mut node = Looked::follower(7, 7);
        node.sight.replica = None;
        node.look_for(60.0, 0, |_| {});
        assert!(node.judge.judge(node.now, &node.sight).is_live());
    }
}
