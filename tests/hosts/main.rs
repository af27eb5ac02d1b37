//! Quorate on hosts of its own: network namespaces with addresses, links that can be cut and a DNS, and a double of what a
//! StatefulSet does with its pods. The nodes are processes of the built binary.
//!
//! ```text
//!     cargo test --test hosts -- --ignored --test-threads 1          all scenarios
//!     cargo test --test hosts -- --ignored --test-threads 1 ci_      those that every build runs, in a few minutes
//! ```
//!
//! They need root, `ip` (iproute2), `unshare` and `setpriv` (util-linux); without `--ignored` only the checks are tested.
//! With `QUORATE_HOSTS_LOGS=DIRECTORY` what the nodes told is kept there, a directory for each scenario.
//!
//! ```text
//!   world          a scenario is a process in namespaces of its own, which end with it: nothing is left, however it ends
//!   network        hosts on a bridge: addresses that change, links that are cut both ways or one way
//!   dns            which names there are, and which addresses they have
//!   api_server     a double of that of Kubernetes (shared)
//!   stateful_set   pods: started in any order, stopped, killed, moved, and robbed of their disks
//!   cluster        what is seen of their cluster
//!   traffic        clients that enqueue all the while
//!   checks         what must be true of every run
//! ```
//!
//! Not here: what one machine can show (`tests/e2e`), and random schedules of faults (`tests/sim`).

mod addresses;
#[path = "../support/api_server.rs"]
mod api_server;
mod checks;
mod cluster;
mod dns;
mod founding;
#[path = "../e2e/load.rs"]
#[allow(dead_code, reason = "the tests of single machines use the rest")]
mod load;
mod lost_disks;
mod network;
mod partitions;
mod pod;
mod scaling;
mod stateful_set;
mod traffic;
mod updates;
mod world;
