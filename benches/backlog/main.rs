//! What nodes take of memory, disk and time for what waits in them: `cargo bench --bench backlog`, with the built binary.
//!
//! - `start`: from the start of a process whose directory holds 1,000,000 waiting messages to its first answer.
//! - `memory`: what a waiting message takes besides its body, and what the node takes at most.
//! - `backlog`: 4 GiB of waiting messages go in and come out again, in order.
//! - `growth`: what is written to disk for each byte that passes through.
//!
//! `cargo bench --bench backlog -- growth` runs one part. Everything lies in a temporary directory (`TMPDIR`), which takes 12 GiB at most
//! and is removed. `QUORATE_BACKLOG_MESSAGES` sets how many messages `start` and `memory` have wait (1,000,000),
//! `QUORATE_BACKLOG_MIB` how much `backlog` does (4,096), and `QUORATE_GROWTH_MIB` how much passes in `growth` (2,048).

// The end-to-end tests use more of these.
#[allow(dead_code)]
#[path = "../../tests/e2e/cluster.rs"]
mod cluster;
#[allow(dead_code)]
#[path = "../../tests/e2e/collector.rs"]
mod collector;
#[allow(dead_code)]
#[path = "../figures/mod.rs"]
mod figures;

mod clients;
mod growth;
mod large;
mod memory;
mod start;

fn main() {
    if figures::is_only_a_test() {
        return;
    }
    let parts: [(&str, fn()); 4] =
        [("start", start::run), ("memory", memory::run), ("backlog", large::run), ("growth", growth::run)];
    for (name, part) in parts {
        if figures::is_wanted(name) {
            part();
        }
    }
}
