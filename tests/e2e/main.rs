//! The built binary as its users meet it: real processes, real sockets, real disks. One file for each theme.

mod bad_input;
mod bench;
mod cluster;
mod collector;
mod crash;
mod demo;
mod dev;
mod forward;
mod founding;
mod hand_over;
mod load;
mod membership;
mod redirect;
mod restart;
mod snapshots;
mod telemetry;
mod tools;
