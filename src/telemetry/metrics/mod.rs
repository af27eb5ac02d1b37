//! Figures over all requests, and of the node: what is measured, and how it gets out.
//!
//! ```text
//!    something happens      ->  Instruments   counters and histograms                \          /->  /metrics, when asked
//!    somebody collects      ->  observed      what to take out of Figures, Process   -+->  SDK  -+
//!                                  Figures    <- the node, asked when it is needed   /          \->  OTLP, at an interval
//! ```
//!
//! What OpenTelemetry calls `quorate.raft.commit.index` is `quorate_raft_commit_index` for Prometheus: points become underscores, a
//! unit of seconds or bytes goes to the end, and then `_total` for a counter. All names are in [`catalogue`], and in the README.
//!
//! Invariants
//! - The number of series has a bound: attributes have few values, or those of the members, or of as many queues as the settings
//!   say. What is gone (a member, a queue, leadership) is told no more.
//! - Nothing is kept of a node that has ended, and two nodes in one process have nothing in common but the process.
//! - Whoever collects costs the loop one short read, and holds up nobody: one collects at a time. Where there are more queues than
//!   one read shows, all of them are gone through every few seconds at most.
//! - A counter never goes back while the process runs, and what the log has counted does not go back with a restart either: it is
//!   told when the node has applied what was committed before.

mod exposition;
mod figures;
mod instruments;
mod metric;
mod observed;
mod process;

pub use exposition::{CONTENT_TYPE, NotExposed, Scrape};
pub use figures::{Figures, Listing, Peer, Queues};
pub use instruments::Instruments;
pub use metric::{Kind, Metric, table};
pub use observed::Source;
pub use process::Process;

pub(super) use exposition::Ending;
pub(super) use instruments::{CALL_DURATION, Calls};

/// Everything that is measured.
pub fn catalogue() -> Vec<Metric> {
    instruments::RECORDED.into_iter().chain(observed::all().map(|observed| observed.metric)).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_readme_has_the_catalogue() {
        let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
        let table = table(&catalogue());
        assert!(readme.contains(&table), "README.md, \"Metrics\", must have this table:\n{table}");
    }

    #[test]
    fn names_are_unique_also_for_prometheus() {
        let names: BTreeSet<String> = catalogue().iter().map(Metric::scraped_name).collect();
        assert_eq!(names.len(), catalogue().len());
    }
}
