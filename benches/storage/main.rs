//! What the store does, beside what the machine could do at best: `cargo bench --bench storage`, in this process.
//!
//! - `append`: the log against a bare loop of write and fdatasync, and, with `--features raft-engine`, against TiKV's log engine.
//! - `snapshot`: how long the loop of a node stands still for a snapshot, and what it costs beside the loop.
//! - `compaction`: what is copied and what the disk holds while few messages live among many that do not.
//!
//! `cargo bench --bench storage -- snapshot` runs one part. Everything lies in a temporary directory (`TMPDIR`), which takes
//! 3 GiB at most and is removed. With `TMPDIR=/dev/shm` a sync takes no time, and `append` shows what the code itself costs.
//! `QUORATE_STORAGE_SECONDS` sets how long each measurement of `append` runs (2); there are up to twelve
//! in each of its three rounds.

#[path = "../figures/mod.rs"]
#[allow(dead_code)]
mod figures;

mod append;
mod compaction;
mod contestants;
#[cfg(feature = "raft-engine")]
mod raft_engine;
mod snapshot;
mod survivors;

fn main() {
    if figures::is_only_a_test() {
        return;
    }
    let parts: [(&str, fn()); 3] =
        [("append", append::run), ("snapshot", snapshot::run), ("compaction", compaction::run)];
    for (name, part) in parts {
        if figures::is_wanted(name) {
            part();
        }
    }
}
