//! What an operator should know at once, in words: a table from what is known to what is wrong. Pure.

use bytesize::ByteSize;
use serde::Serialize;

use super::past::{Past, Queues, Since};
use super::view::{Asked, Cluster, Node};

/// An election takes less than this; a cluster that has no leader for longer cannot elect one by itself.
pub(super) const LEADERLESS_MS: u64 = 2_000;

/// A node was asked in vain for a while before it counts as one that does not answer; one that is soon back is no matter.
pub(super) const UNREACHABLE_MS: u64 = 2_000;

/// A follower that is so many entries behind, for so long, does not keep up: one that was away for a moment has them in a second.
pub(super) const LAG_ENTRIES: u64 = 1_000;
pub(super) const LAG_MS: u64 = 10_000;

/// A sync of a good disk takes 1 to 10 ms. At a quarter of the shortest default time-out of an election the disk is what decides
/// whether the leader stays one.
pub(super) const FSYNC_P99_MS: f64 = 100.0;

/// Of fewer commits or syncs than this, the slowest alone would be one of a hundred: half of them must be slow.
pub(super) const SAMPLES_MIN: u64 = 100;

/// Fewer than this say nothing at all.
pub(super) const SAMPLES_LEAST: u64 = 3;

/// Clients wait for that long, and for the round trip besides. Many give up after a second.
pub(super) const COMMIT_P99_MS: f64 = 500.0;

/// So many changes of the term within so long: leaders fall, or somebody stands who cannot win. A rolling update of three nodes makes
/// two.
pub(super) const ELECTIONS: usize = 3;
pub(super) const ELECTIONS_MS: u64 = 10 * 60_000;

/// Of the disk that is free. The first is when there is still time to do something about it.
pub(super) const DISK_FREE_LOW: f64 = 0.10;
pub(super) const DISK_FREE_LEAST: f64 = 0.03;

/// To catch up takes seconds, and minutes where a snapshot is large.
pub(super) const LEARNER_MS: u64 = 10 * 60_000;

/// A node that has just started has something to catch up with.
pub(super) const UNREADY_MS: u64 = 60_000;

/// Leases and delays follow the clock of the leader: after a change of leaders they are off by so much. With NTP clocks differ by
/// some milliseconds.
pub(super) const CLOCK_MS: i64 = 500;

/// Messages were given up since so long ago.
pub(super) const DEAD_MS: u64 = 10 * 60_000;

/// A message that waits for longer has nobody who takes it, or too few do.
pub(super) const OLDEST_MS: u64 = 60 * 60_000;

/// Something that somebody should look at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Alarm {
    pub(super) level: Level,
    pub(super) code: &'static str,
    pub(super) text: String,
    /// The node that it is about.
    pub(super) node: Option<String>,
}

/// How urgent it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Level {
    /// Nothing is acknowledged any more, or may soon not be.
    Critical,
    /// Somebody should look, today.
    Warning,
}

/// Everything that is wrong, the most urgent first.
pub(super) fn alarms(cluster: &Cluster, past: &Past) -> Vec<Alarm> {
    if cluster.removed {
        return vec![removed(&cluster.asked)];
    }
    let mut alarms = of_the_cluster(cluster, past);
    for node in &cluster.nodes {
        let since = past.nodes.get(&node.id).copied().unwrap_or_default();
        alarms.extend(of_a_node(cluster, node, since));
    }
    alarms.extend(of_queues(&past.queues));
    alarms.sort_by_key(|alarm| alarm.level);
    alarms
}

fn removed(asked: &Asked) -> Alarm {
    let text = format!("{} is not a member any more: who is, it knows only up to then", asked.name);
    Alarm { level: Level::Warning, code: "removed", text, node: Some(asked.id.clone()) }
}

fn of_the_cluster(cluster: &Cluster, past: &Past) -> Vec<Alarm> {
    let mut alarms = Vec::new();
    let mut add = |level, code, text: String| alarms.push(Alarm { level, code, text, node: None });
    if let Some((level, code, text)) = quorum(cluster) {
        add(level, code, text);
    }
    if lasted(cluster.now, past.leaderless) > Some(LEADERLESS_MS) {
        let asked = &cluster.asked.name;
        let text = match may_be_cut_off(cluster) {
            true => format!("No node that {asked} reaches knows a leader, and without one they acknowledge nothing"),
            false => "No leader: nothing is acknowledged until a majority of the voters elects one".to_owned(),
        };
        add(Level::Critical, "no_leader", text);
    }
    let commits = (cluster.commits, cluster.commit_p50_ms, cluster.commit_p99_ms);
    if let Some((which, takes)) = too_slow(commits, COMMIT_P99_MS) {
        add(Level::Warning, "slow_commit", format!("Slow commits: {which} takes {takes:.0} ms or more"));
    }
    let lately = past.elections.iter().filter(|at| cluster.now.saturating_sub(**at) < ELECTIONS_MS).count();
    if lately >= ELECTIONS {
        let minutes = ELECTIONS_MS / 60_000;
        let text = format!("Frequent elections: the term has risen {lately} times in {minutes} minutes");
        add(Level::Warning, "frequent_elections", text);
    }
    alarms
}

fn quorum(cluster: &Cluster) -> Option<(Level, &'static str, String)> {
    let Cluster { voters, voters_up, needed: least, tolerates, .. } = *cluster;
    if may_be_cut_off(cluster) {
        let asked = &cluster.asked.name;
        let text = format!(
            "{asked} finds {voters_up} of {voters} voters up and {least} are needed: either the quorum is lost, or \
             {asked} is cut off and the others serve without it"
        );
        return Some((Level::Critical, "quorum_lost", text));
    }
    let counted = format!("{voters_up} of {voters} voters are up and {least} are needed");
    if tolerates < 0 {
        let text = format!("Quorum lost: {counted}; nothing is acknowledged");
        return Some((Level::Critical, "quorum_lost", text));
    }
    let is_short = tolerates == 0 && !needs_all(cluster);
    is_short.then(|| (Level::Warning, "no_failure_tolerated", format!("No further failure is tolerated: {counted}")))
}

/// Too few voters are up for a commit, as far as this node sees, and the others may be enough without it.
fn may_be_cut_off(cluster: &Cluster) -> bool {
    cluster.tolerates < 0 && cluster.others_may_serve
}

/// All voters are needed: then none can be spared, however well they are.
fn needs_all(cluster: &Cluster) -> bool {
    cluster.needed >= cluster.voters
}

fn of_a_node(cluster: &Cluster, node: &Node, since: Since) -> Vec<Alarm> {
    let (now, name) = (cluster.now, &node.name);
    let mut alarms = Vec::new();
    let mut add = |level, code, text| alarms.push(Alarm { level, code, text, node: Some(node.id.clone()) });
    let lasts = |since, limit| lasted(now, since).filter(|lasted| *lasted > limit);
    if let Some(lasted) = lasts(since.learner, LEARNER_MS) {
        let text = format!("{name} is to become a voter and is none, for {}", in_words(lasted));
        add(Level::Warning, "learner_stays", text);
    }
    if lasts(since.unreachable, UNREACHABLE_MS).is_some() {
        // All else that is known of it is as old as its last answer.
        let (level, code, text) = unreachable(cluster, node, since);
        add(level, code, text);
        return alarms;
    }
    let told = &node.told;
    if !told.trouble.is_empty() {
        add(level_of_trouble(node), "trouble", format!("{name}: {}", told.trouble));
    }
    if let (Some(lag), Some(lasted)) = (node.lag, lasts(since.lagging, LAG_MS)) {
        let text =
            format!("{name} is {} behind the leader, for {}", counted(lag, "entry", "entries"), in_words(lasted));
        add(Level::Warning, "lags", text);
    }
    if let Some((which, takes)) = too_slow((told.fsyncs, told.fsync_p50_ms, told.fsync_p99_ms), FSYNC_P99_MS) {
        let text = format!("The disk of {name} is slow: of its syncs {which} takes {takes:.0} ms or more");
        add(Level::Warning, "slow_fsync", text);
    }
    if let Some((level, how_full)) = full_disk(node) {
        add(level, "disk_full", format!("The disk of {name} is {how_full}"));
    }
    if let Some(text) = wrong_clock(cluster, node) {
        add(Level::Warning, "clock_skew", text);
    }
    let missing = told.health.iter().find_map(|health| Some((&health.what, health.missing.as_ref()?)));
    if let (Some((what, why)), Some(_)) = (missing, lasts(since.unready, UNREADY_MS)) {
        add(Level::Warning, "not_ready", format!("{name} does not do its part: \"{what}\" does not hold: {why}"));
    }
    alarms
}

/// Which of so many take too long, and how long, in milliseconds.
fn too_slow((count, p50, p99): (u64, Option<f64>, Option<f64>), limit: f64) -> Option<(&'static str, f64)> {
    let (which, takes) = match count {
        SAMPLES_MIN.. => ("one of a hundred", p99?),
        SAMPLES_LEAST.. => ("every other one", p50?),
        _ => return None,
    };
    (takes > limit).then_some((which, takes))
}

/// A node does not answer. What was wrong with it when it answered last may be why, and is as bad as it was.
fn unreachable(cluster: &Cluster, node: &Node, since: Since) -> (Level, &'static str, String) {
    let (name, asked) = (&node.name, &cluster.asked.name);
    let leader = cluster.nodes.iter().find(|other| cluster.leader.as_ref() == Some(&other.id));
    if let Some(leader) = leader.filter(|_| node.heard_by_leader) {
        let text = format!("{asked} does not reach {name}; {}, which leads, does", leader.name);
        return (Level::Warning, "not_reached", text);
    }
    let silent = lasted(cluster.now, node.seen_at.or(since.unreachable)).unwrap_or_default();
    let mut level = Level::Warning;
    let mut text = format!("{name} does not answer, for {}", in_words(silent));
    if let Some(end) = node.end {
        text += &format!(": {end}");
    }
    if let Some((as_bad, how_full)) = full_disk(node) {
        level = level.min(as_bad);
        text += &format!("; its disk was {how_full} when it was last heard");
    }
    if !node.told.trouble.is_empty() {
        level = level.min(level_of_trouble(node));
        text += &format!("; it said last: {}", node.told.trouble);
    }
    (level, "unreachable", text)
}

fn level_of_trouble(node: &Node) -> Level {
    // A voter that fetches a snapshot is soon done, and votes again.
    let is_lost = node.told.stands_still || node.told.role == Some("outsider");
    if is_lost && node.membership == "voter" { Level::Critical } else { Level::Warning }
}

/// How full the disk is, in words, if it is too full.
fn full_disk(node: &Node) -> Option<(Level, String)> {
    let disk = node.told.disk.as_ref()?;
    let (free, total) = (disk.free?, disk.total?);
    let share = free as f64 / total as f64;
    let level = match share {
        share if share < DISK_FREE_LEAST => Level::Critical,
        share if share < DISK_FREE_LOW => Level::Warning,
        _ => return None,
    };
    let words = match free {
        0 => "full".to_owned(),
        _ => format!("nearly full, with {} ({:.0} %) free", ByteSize::b(free), share * 100.0),
    };
    Some((level, words))
}

/// The clock of a node differs too much from that of the node that looks. When that one differs from all others alike, it is the one
/// that is wrong.
fn wrong_clock(cluster: &Cluster, node: &Node) -> Option<String> {
    let (asked, name) = (&cluster.asked, &node.name);
    let (ahead, others) = match own_clock_ahead(cluster) {
        Some(ahead) if node.id == asked.id => (ahead, "those of the others".to_owned()),
        Some(_) => return None,
        None => (node.clock_ahead_ms?, format!("that of {}", asked.name)),
    };
    let which = if ahead > 0 { "ahead of" } else { "behind" };
    let is_wrong = ahead.abs() > CLOCK_MS;
    is_wrong.then(|| format!("The clock of {name} is {} {which} {others}", in_words(ahead.unsigned_abs())))
}

/// By how much the clock of the node that looks is ahead of all others, when it is the odd one out.
fn own_clock_ahead(cluster: &Cluster) -> Option<i64> {
    let others = cluster.nodes.iter().filter(|node| node.reachable && node.id != cluster.asked.id);
    let others: Vec<i64> = others.filter_map(|node| node.clock_ahead_ms).collect();
    let (least, most) = (*others.iter().min()?, *others.iter().max()?);
    let agree = others.len() > 1 && most.saturating_sub(least) <= CLOCK_MS;
    let is_off = least > CLOCK_MS || most < -CLOCK_MS;
    (agree && is_off).then(|| -most)
}

fn of_queues(queues: &Queues) -> Vec<Alarm> {
    let mut alarms = Vec::new();
    let mut add = |code, text| alarms.push(Alarm { level: Level::Warning, code, text, node: None });
    if queues.dead_lately > 0 {
        let (count, minutes) = (counted(queues.dead_lately, "message was", "messages were"), DEAD_MS / 60_000);
        let queue = queues.most_dead.as_ref().map(|queue| format!("; the queue {queue} has the most"));
        let queue = queue.unwrap_or_default();
        add("dead_letters", format!("Dead letters grow: {count} given up in {minutes} minutes{queue}"));
    }
    if let Some((queue, age)) = queues.oldest.as_ref().filter(|(_, age)| *age > OLDEST_MS) {
        add("oldest_message", format!("The oldest message of the queue {queue} waits for {}", in_words(*age)));
    }
    alarms
}

/// For how long something holds.
fn lasted(now: u64, since: Option<u64>) -> Option<u64> {
    since.map(|since| now.saturating_sub(since))
}

/// A time as people say it, without what does not matter.
fn in_words(milliseconds: u64) -> String {
    match milliseconds {
        0..1_000 => format!("{:.1} s", milliseconds as f64 / 1e3),
        1_000..120_000 => format!("{} s", milliseconds / 1_000),
        120_000..7_200_000 => format!("{} minutes", milliseconds / 60_000),
        7_200_000..172_800_000 => format!("{} hours", milliseconds / 3_600_000),
        _ => format!("{} days", milliseconds / 86_400_000),
    }
}

/// A count as people read it: `1 entry`, `12,345 entries`.
fn counted(count: u64, one: &str, many: &str) -> String {
    let digits = count.to_string();
    let mut grouped = String::new();
    for (place, digit) in digits.char_indices() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    format!("{grouped} {}", if count == 1 { one } else { many })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dashboard::view::{Disk, Health, Settings, Told};

    const NOW: u64 = 100_000_000;

    /// Three voters a, b, c that are well.
    fn well() -> (Cluster, Past) {
        let node = |name: &str| Node {
            id: name.to_owned(),
            name: name.to_owned(),
            membership: "voter",
            reachable: true,
            lag: Some(0),
            told: Told { fsyncs: SAMPLES_MIN, ..Told::default() },
            ..Node::default()
        };
        let settings = Settings { show_content: true, token_needed: false, trace_url: None };
        let cluster = Cluster {
            asked: Asked { id: "a".to_owned(), name: "a".to_owned() },
            now: NOW,
            cluster_id: "1".to_owned(),
            settings,
            leader: Some("a".to_owned()),
            term: 2,
            quorum: "majority",
            joint: false,
            voters: 3,
            voters_up: 3,
            needed: 2,
            tolerates: 1,
            commit_rate: Some(0.0),
            commit_p99_ms: None,
            commit_p50_ms: None,
            commits: SAMPLES_MIN,
            removed: false,
            others_may_serve: false,
            alarms: Vec::new(),
            nodes: vec![node("a"), node("b"), node("c")],
        };
        (cluster, Past::default())
    }

    fn since(past: &mut Past, set: impl FnOnce(&mut Since)) {
        set(past.nodes.entry("b".to_owned()).or_default());
    }

    fn disk(free: u64) -> Option<Disk> {
        let (oldest_file, oldest_kept_for) = (String::new(), String::new());
        let (free, total) = (Some(free << 20), Some(100_000 << 20));
        Some(Disk {
            log: 0,
            archive: 0,
            living: 0,
            snapshot: 0,
            spare: 0,
            written: 0,
            free,
            total,
            oldest_file,
            oldest_kept_for,
        })
    }

    /// It does not answer, and answered last so long ago.
    fn silent(node: &mut Node, past: &mut Past, milliseconds: u64) {
        (node.reachable, node.seen_at) = (false, Some(NOW - milliseconds));
        let since = past.nodes.entry(node.id.clone()).or_default();
        since.unreachable = Some((NOW - milliseconds + 2_000).min(NOW - UNREACHABLE_MS - 1));
    }

    fn health(missing: Option<&str>) -> Vec<Health> {
        vec![Health { what: "votes".to_owned(), missing: missing.map(str::to_owned) }]
    }

    type Change = fn(&mut Cluster, &mut Past);
    type Expected = (Level, &'static str, &'static str);

    /// Each line: what is changed of a cluster that is well, and the one alarm that comes of it, or none.
    #[test]
    fn what_is_wrong_is_said_and_nothing_else() {
        use Level::{Critical, Warning};
        let table: Vec<(Change, Option<Expected>)> = vec![
            (|_, _| {}, None),
            (
                |cluster, _| (cluster.voters_up, cluster.tolerates) = (1, -1),
                Some((
                    Critical,
                    "quorum_lost",
                    "Quorum lost: 1 of 3 voters are up and 2 are needed; nothing is acknowledged",
                )),
            ),
            // Who reaches no majority cannot know whether others do.
            (
                |cluster, _| {
                    (cluster.voters_up, cluster.tolerates) = (1, -1);
                    cluster.others_may_serve = true;
                },
                Some((
                    Critical,
                    "quorum_lost",
                    "a finds 1 of 3 voters up and 2 are needed: either the quorum is lost, or a is cut off and the others \
                     serve without it",
                )),
            ),
            (
                |cluster, _| (cluster.voters_up, cluster.tolerates) = (2, 0),
                Some((
                    Warning,
                    "no_failure_tolerated",
                    "No further failure is tolerated: 2 of 3 voters are up and 2 are needed",
                )),
            ),
            // One voter, two of them, and three that must all have what is committed, tolerate none by design.
            (|cluster, _| (cluster.voters, cluster.voters_up, cluster.needed, cluster.tolerates) = (1, 1, 1, 0), None),
            (|cluster, _| (cluster.voters, cluster.voters_up, cluster.needed, cluster.tolerates) = (2, 2, 2, 0), None),
            (|cluster, _| (cluster.quorum, cluster.needed, cluster.tolerates) = ("half_plus_one", 3, 0), None),
            (|_, past| past.leaderless = Some(NOW - LEADERLESS_MS), None),
            (
                |_, past| past.leaderless = Some(NOW - LEADERLESS_MS - 1),
                Some((
                    Critical,
                    "no_leader",
                    "No leader: nothing is acknowledged until a majority of the voters elects one",
                )),
            ),
            (|cluster, _| cluster.commit_p99_ms = Some(COMMIT_P99_MS), None),
            (|cluster, _| (cluster.commit_p99_ms, cluster.commits) = (Some(640.4), SAMPLES_MIN - 1), None),
            (
                |cluster, _| cluster.commit_p99_ms = Some(640.4),
                Some((Warning, "slow_commit", "Slow commits: one of a hundred takes 640 ms or more")),
            ),
            (
                |cluster, _| (cluster.commit_p50_ms, cluster.commits) = (Some(640.4), SAMPLES_LEAST),
                Some((Warning, "slow_commit", "Slow commits: every other one takes 640 ms or more")),
            ),
            (|cluster, _| (cluster.commit_p50_ms, cluster.commits) = (Some(640.4), SAMPLES_LEAST - 1), None),
            (|_, past| past.elections = vec![NOW - ELECTIONS_MS, NOW - 9, NOW], None),
            (
                |_, past| past.elections = vec![NOW - ELECTIONS_MS + 1, NOW - 9, NOW],
                Some((Warning, "frequent_elections", "Frequent elections: the term has risen 3 times in 10 minutes")),
            ),
            (|_, past| since(past, |b| b.unreachable = Some(NOW - UNREACHABLE_MS)), None),
            (
                |_, past| since(past, |b| b.unreachable = Some(NOW - 2_500)),
                Some((Warning, "unreachable", "b does not answer, for 2 s")),
            ),
            // That it does not answer is seen later than its last answer, from which the card counts as well.
            (
                |cluster, past| silent(&mut cluster.nodes[1], past, 5_500),
                Some((Warning, "unreachable", "b does not answer, for 5 s")),
            ),
            (
                |cluster, past| {
                    cluster.nodes[1].end = Some("its process has ended");
                    cluster.nodes[1].told.fsync_p99_ms = Some(900.0);
                    silent(&mut cluster.nodes[1], past, 3_600_000);
                },
                Some((Warning, "unreachable", "b does not answer, for 60 minutes: its process has ended")),
            ),
            // What was wrong with it when it was last heard may be why, and is as bad as it was.
            (
                |cluster, past| {
                    cluster.nodes[1].told.disk = disk(0);
                    silent(&mut cluster.nodes[1], past, 7_000);
                },
                Some((Critical, "unreachable", "b does not answer, for 7 s; its disk was full when it was last heard")),
            ),
            (
                |cluster, past| {
                    cluster.nodes[1].told.disk = disk(9_000);
                    silent(&mut cluster.nodes[1], past, 7_000);
                },
                Some((
                    Warning,
                    "unreachable",
                    "b does not answer, for 7 s; its disk was nearly full, with 8.8 GiB (9 %) free when it was last heard",
                )),
            ),
            (
                |cluster, past| {
                    cluster.nodes[1].told.trouble = "stands still".to_owned();
                    cluster.nodes[1].told.stands_still = true;
                    silent(&mut cluster.nodes[1], past, 7_000);
                },
                Some((Critical, "unreachable", "b does not answer, for 7 s; it said last: stands still")),
            ),
            (
                |cluster, past| {
                    cluster.leader = Some("c".to_owned());
                    cluster.nodes[1].heard_by_leader = true;
                    silent(&mut cluster.nodes[1], past, 7_000);
                },
                Some((Warning, "not_reached", "a does not reach b; c, which leads, does")),
            ),
            (
                |cluster, _| {
                    cluster.nodes[1].told.trouble = "stands still".to_owned();
                    cluster.nodes[1].told.stands_still = true;
                },
                Some((Critical, "trouble", "b: stands still")),
            ),
            (
                |cluster, _| {
                    cluster.nodes[1].told.trouble = "fetches the snapshot".to_owned();
                    cluster.nodes[1].told.role = Some("follower");
                },
                Some((Warning, "trouble", "b: fetches the snapshot")),
            ),
            (
                |cluster, _| {
                    cluster.nodes[1].told.trouble = "fetches the snapshot".to_owned();
                    cluster.nodes[1].membership = "learner";
                },
                Some((Warning, "trouble", "b: fetches the snapshot")),
            ),
            (|_, past| since(past, |b| b.lagging = Some(NOW - LAG_MS)), None),
            (
                |cluster, past| {
                    cluster.nodes[1].lag = Some(5_000);
                    since(past, |b| b.lagging = Some(NOW - 30_000));
                },
                Some((Warning, "lags", "b is 5,000 entries behind the leader, for 30 s")),
            ),
            (|cluster, _| cluster.nodes[1].told.fsync_p99_ms = Some(FSYNC_P99_MS), None),
            (
                |cluster, _| cluster.nodes[1].told.fsync_p99_ms = Some(250.0),
                Some((
                    Warning,
                    "slow_fsync",
                    "The disk of b is slow: of its syncs one of a hundred takes 250 ms or more",
                )),
            ),
            (
                |cluster, _| {
                    let told = &mut cluster.nodes[1].told;
                    (told.fsync_p99_ms, told.fsyncs) = (Some(250.0), SAMPLES_MIN - 1);
                },
                None,
            ),
            (
                |cluster, _| {
                    let told = &mut cluster.nodes[1].told;
                    (told.fsync_p50_ms, told.fsyncs) = (Some(4_000.0), SAMPLES_MIN - 1);
                },
                Some((
                    Warning,
                    "slow_fsync",
                    "The disk of b is slow: of its syncs every other one takes 4000 ms or more",
                )),
            ),
            (|cluster, _| cluster.nodes[1].told.disk = disk(10_000), None),
            (
                |cluster, _| cluster.nodes[1].told.disk = disk(7),
                Some((Critical, "disk_full", "The disk of b is nearly full, with 7.0 MiB (0 %) free")),
            ),
            (|cluster, _| cluster.nodes[1].told.disk = disk(0), Some((Critical, "disk_full", "The disk of b is full"))),
            (
                |cluster, _| cluster.nodes[1].told.disk = disk(9_000),
                Some((Warning, "disk_full", "The disk of b is nearly full, with 8.8 GiB (9 %) free")),
            ),
            (
                |cluster, _| cluster.nodes[1].told.disk = disk(2_000),
                Some((Critical, "disk_full", "The disk of b is nearly full, with 2.0 GiB (2 %) free")),
            ),
            (|_, past| since(past, |b| b.learner = Some(NOW - LEARNER_MS)), None),
            (
                |_, past| since(past, |b| b.learner = Some(NOW - 3 * 3_600_000)),
                Some((Warning, "learner_stays", "b is to become a voter and is none, for 3 hours")),
            ),
            (|cluster, _| cluster.nodes[1].clock_ahead_ms = Some(-CLOCK_MS), None),
            (
                |cluster, _| cluster.nodes[1].clock_ahead_ms = Some(2_300),
                Some((Warning, "clock_skew", "The clock of b is 2 s ahead of that of a")),
            ),
            (
                |cluster, _| cluster.nodes[1].clock_ahead_ms = Some(-2_300),
                Some((Warning, "clock_skew", "The clock of b is 2 s behind that of a")),
            ),
            (
                |cluster, _| {
                    cluster.nodes[0].clock_ahead_ms = Some(0);
                    (cluster.nodes[1].clock_ahead_ms, cluster.nodes[2].clock_ahead_ms) = (Some(-45_000), Some(-45_200));
                },
                Some((Warning, "clock_skew", "The clock of a is 45 s ahead of those of the others")),
            ),
            // An older version tells no clock: two that differ say nothing of which one is wrong.
            (
                |cluster, _| {
                    cluster.nodes[0].clock_ahead_ms = Some(0);
                    cluster.nodes[1].clock_ahead_ms = Some(600);
                },
                Some((Warning, "clock_skew", "The clock of b is 0.6 s ahead of that of a")),
            ),
            (
                |cluster, past| {
                    cluster.nodes[1].told.health = health(Some("only a member can"));
                    since(past, |b| b.unready = Some(NOW - UNREADY_MS));
                },
                None,
            ),
            (
                |cluster, past| {
                    cluster.nodes[1].told.health = health(Some("only a member can"));
                    since(past, |b| b.unready = Some(NOW - UNREADY_MS - 1));
                },
                Some((Warning, "not_ready", "b does not do its part: \"votes\" does not hold: only a member can")),
            ),
            (
                |_, past| past.queues.dead_lately = 1,
                Some((Warning, "dead_letters", "Dead letters grow: 1 message was given up in 10 minutes")),
            ),
            (
                |_, past| past.queues.dead_lately = 1_234,
                Some((Warning, "dead_letters", "Dead letters grow: 1,234 messages were given up in 10 minutes")),
            ),
            (
                |_, past| {
                    past.queues.dead_lately = 1;
                    past.queues.most_dead = Some("orders".to_owned());
                },
                Some((
                    Warning,
                    "dead_letters",
                    "Dead letters grow: 1 message was given up in 10 minutes; the queue orders has the most",
                )),
            ),
            (|_, past| past.queues.oldest = Some(("orders".to_owned(), OLDEST_MS)), None),
            (
                |_, past| past.queues.oldest = Some(("orders".to_owned(), 5 * 86_400_000)),
                Some((Warning, "oldest_message", "The oldest message of the queue orders waits for 5 days")),
            ),
        ];
        for (number, (change, expected)) in table.into_iter().enumerate() {
            let (mut cluster, mut past) = well();
            change(&mut cluster, &mut past);
            let told = alarms(&cluster, &past);
            let told: Vec<_> = told.iter().map(|alarm| (alarm.level, alarm.code, alarm.text.as_str())).collect();
            let expected: Vec<_> = expected.into_iter().collect();
            assert_eq!(told, expected, "line {number}");
        }
    }

    fn texts(cluster: &Cluster, past: &Past) -> Vec<String> {
        alarms(cluster, past).into_iter().map(|alarm| alarm.text).collect()
    }

    /// c is cut off: a and b may lead and serve.
    #[test]
    fn a_node_that_reaches_no_majority_does_not_speak_for_the_others() {
        let (mut cluster, mut past) = well();
        (cluster.asked, cluster.leader) = (Asked { id: "c".to_owned(), name: "c".to_owned() }, None);
        (cluster.voters_up, cluster.tolerates, past.leaderless) = (1, -1, Some(0));
        cluster.others_may_serve = true;
        cluster.nodes[..2].iter_mut().for_each(|node| silent(node, &mut past, 60_000));
        let expected = [
            "c finds 1 of 3 voters up and 2 are needed: either the quorum is lost, or c is cut off and the others serve \
             without it",
            "No node that c reaches knows a leader, and without one they acknowledge nothing",
            "a does not answer, for 60 s",
            "b does not answer, for 60 s",
        ];
        assert_eq!(texts(&cluster, &past), expected);
    }

    #[test]
    fn a_learner_that_does_not_answer_is_still_to_become_a_voter() {
        let (mut cluster, mut past) = well();
        silent(&mut cluster.nodes[1], &mut past, 900_000);
        since(&mut past, |b| b.learner = Some(NOW - 900_000));
        let expected = ["b is to become a voter and is none, for 15 minutes", "b does not answer, for 15 minutes"];
        assert_eq!(texts(&cluster, &past), expected);
    }

    #[test]
    fn a_node_that_was_removed_says_only_that() {
        let (mut cluster, mut past) = well();
        (cluster.removed, cluster.leader, past.leaderless) = (true, None, Some(0));
        (cluster.voters_up, cluster.tolerates) = (1, -1);
        silent(&mut cluster.nodes[1], &mut past, 60_000);
        let expected = ["a is not a member any more: who is, it knows only up to then"];
        assert_eq!(texts(&cluster, &past), expected);
    }

    #[test]
    fn the_most_urgent_comes_first() {
        let (mut cluster, mut past) = well();
        cluster.commit_p99_ms = Some(900.0);
        past.leaderless = Some(0);
        since(&mut past, |b| b.unreachable = Some(0));
        let codes: Vec<_> = alarms(&cluster, &past).iter().map(|alarm| alarm.code).collect();
        assert_eq!(codes, ["no_leader", "slow_commit", "unreachable"]);
    }
}
