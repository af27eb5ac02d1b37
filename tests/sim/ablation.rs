//! What time-outs that adapt are good for: the same clusters with fixed ones and with adaptive ones, on links from a data centre's
//! to those of the acceptance demonstration.
//!
//! ```text
//!    cargo test --release --test sim ablation -- --ignored --nocapture      the table, in some minutes
//!    QUORATE_SIM_CELLS='1000 ms,5 %' ...                                     rows whose name has both of these in it
//!    QUORATE_SIM_SEEDS=20 QUORATE_SIM_NODES=6 ...                            more clusters for each row; of six voters
//! ```

use std::time::Duration;

use quorate::raft::{Bounds, CommitQuorum, TimeoutPolicy, Timeouts};

use super::knobs::{Micros, SECOND, Workload};
use super::measure::{in_parallel, quantile};
use super::number_from_environment;
use super::tcp::Quality;
use super::trial::{Death, Outage, Setting, Trial, light_load};

/// Clusters for each row, unless `QUORATE_SIM_SEEDS` says otherwise.
const SEEDS: u64 = 6;

/// How long nothing is looked at after a cluster has formed.
const WARM_UP: Micros = 120 * SECOND;

/// How long each cluster is watched without a kill.
const CALM: Micros = 600 * SECOND;

/// How often the leader of each cluster dies in each way.
const DEATHS: usize = 3;

/// Requests of the pipelined client that may be open.
const PIPELINE: usize = 1_000;

/// What is compared: fixed time-outs as systems have them by default, and what Quorate has by default.
fn policies() -> [(&'static str, TimeoutPolicy); 2] {
    let (election_min, election_max) = (Duration::from_secs(1), Duration::from_secs(2));
    let fixed = Timeouts { election_min, election_max, heartbeat: Duration::from_millis(100) };
    [("fixed", TimeoutPolicy::Fixed(fixed)), ("adaptive", TimeoutPolicy::Adaptive(Bounds::default()))]
}

/// What came of one cluster.
#[derive(Default)]
struct Figures {
    calm: Micros,
    without: Micros,
    elections: u64,
    killed: Vec<Outage>,
    without_power: Vec<Outage>,
    commits: Vec<Micros>,
    /// Requests of the pipelined client in a second.
    throughput: Vec<u64>,
}

/// The table. It asserts nothing: what must hold of it on the acceptance network is in `acceptance`.
#[test]
#[ignore = "takes minutes, and shows a table"]
fn ablation() {
    let nodes = number_from_environment("QUORATE_SIM_NODES").unwrap_or(5) as usize;
    let seeds = number_from_environment("QUORATE_SIM_SEEDS").unwrap_or(SEEDS);
    let wanted = std::env::var("QUORATE_SIM_CELLS").unwrap_or_default();
    let rows: Vec<(String, Setting)> =
        rows(nodes).into_iter().filter(|(name, _)| wanted.split(',').all(|part| name.contains(part.trim()))).collect();
    let jobs: Vec<(usize, u64)> = (0..rows.len()).flat_map(|row| (0..seeds).map(move |seed| (row, seed))).collect();
    let figures = in_parallel(&jobs, |(row, seed)| (*row, measure(*seed, &rows[*row].1)));
    let mut totals: Vec<Figures> = rows.iter().map(|_| Figures::default()).collect();
    for (row, figures) in figures {
        totals[row].add(figures);
    }
    println!("{nodes} voters, {seeds} clusters for each row\n\n{HEAD}");
    for ((name, _), mut total) in rows.iter().zip(totals) {
        println!("{}", total.row(name));
    }
}

fn rows(nodes: usize) -> Vec<(String, Setting)> {
    let mut networks = Vec::new();
    for (delay, name) in
        [(100, "0.1 ms"), (1_000, "1 ms"), (10_000, "10 ms"), (100_000, "100 ms"), (1_000_000, "1000 ms")]
    {
        for percent in [0, 1, 5, 20] {
            networks.push((format!("{name}, {percent} %"), Quality::plain(delay, f64::from(percent) / 100.0)));
        }
    }
    networks.push(("acceptance".to_owned(), Quality::ACCEPTANCE));
    let setting = |quality: &Quality, timeouts| Setting {
        nodes,
        commit_quorum: CommitQuorum::Majority,
        timeouts,
        quality: quality.clone(),
        clients_are_far: false,
        workload: light_load(SECOND),
    };
    let of_network = |(name, quality): (String, Quality)| {
        policies().map(|(policy, timeouts)| (format!("{name} | {policy}"), setting(&quality, timeouts)))
    };
    networks.into_iter().flat_map(of_network).collect()
}

fn measure(seed: u64, setting: &Setting) -> Figures {
    let mut figures = Figures::default();
    let mut trial = Trial::new(seed, setting);
    trial.form();
    trial.begin_work();
    trial.rest(WARM_UP);
    trial.cluster.watch.commits.clear();
    let calm = trial.watch(CALM);
    (figures.calm, figures.without, figures.elections) = (CALM, calm.without, calm.elections);
    figures.commits = std::mem::take(&mut trial.cluster.watch.commits);
    for _ in 0..DEATHS {
        figures.killed.push(trial.lose_leader(Death::Kill, 0));
        figures.without_power.push(trial.lose_leader(Death::PowerFailure, 0));
    }
    figures.throughput.push(throughput(seed, setting));
    figures
}

/// Requests in a second that a cluster executes for one client beside the leader, which waits for no answer.
fn throughput(seed: u64, setting: &Setting) -> u64 {
    const ROUND_TRIPS: Micros = 60;
    let workload = Workload { pipeline_max: PIPELINE, without_session: 1.0, ..light_load(SECOND / 2_000) };
    let mut trial = Trial::new(seed, &Setting { workload, ..setting.clone() });
    let time = 5 * SECOND + ROUND_TRIPS * 2 * setting.quality.delay;
    trial.form();
    trial.begin_work();
    trial.rest(time);
    let before = trial.answered();
    trial.rest(time);
    (trial.answered() - before) as u64 * SECOND / time
}

const HEAD: &str = "\
| each way, loss | time-outs | without a leader, s/h | false elections/h | kill -9: noticed, s (p50, p99) | led again | power failure: noticed, s (p50, p99) | led again | commit, ms (p50, p99) | pipelined requests/s |
| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |";

impl Figures {
    fn add(&mut self, other: Figures) {
        self.calm += other.calm;
        self.without += other.without;
        self.elections += other.elections;
        self.killed.extend(other.killed);
        self.without_power.extend(other.without_power);
        self.commits.extend(other.commits);
        self.throughput.extend(other.throughput);
    }

    fn row(&mut self, name: &str) -> String {
        let hours = self.calm as f64 / (3_600 * SECOND) as f64;
        let noticed = |outages: &[Outage]| pair(outages.iter().map(|outage| outage.noticed).collect(), SECOND);
        let led = |outages: &[Outage]| pair(outages.iter().map(|outage| outage.led).collect(), SECOND);
        let cells = [
            format!("{:.1}", self.without as f64 / SECOND as f64 / hours),
            format!("{:.1}", self.elections as f64 / hours),
            noticed(&self.killed),
            led(&self.killed),
            noticed(&self.without_power),
            led(&self.without_power),
            pair(std::mem::take(&mut self.commits), 1_000),
            quantile(&mut self.throughput, 0.5).to_string(),
        ];
        format!("| {name} | {} |", cells.join(" | "))
    }
}

/// The median and the 99th percentile, in so many microseconds.
fn pair(mut values: Vec<Micros>, unit: Micros) -> String {
    if values.is_empty() {
        return "none".to_owned();
    }
    let [p50, p99] = [0.5, 0.99].map(|share| quantile(&mut values, share) as f64 / unit as f64);
    format!("{p50:.2}, {p99:.2}")
}
