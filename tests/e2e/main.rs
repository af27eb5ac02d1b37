//! The built binary as its users meet it: real processes, real sockets, real disks. One file for each theme.

#[path = "../support/api_server.rs"]
mod api_server;
mod bad_input;
mod bench;
mod cluster;
mod collector;
mod crash;
mod dashboard;
mod dashboard_members;
mod demo;
mod dev;
mod failover;
mod forward;
mod founding;
mod hand_over;
mod health;
mod inside;
mod kubernetes;
mod leases;
mod load;
mod membership;
mod redirect;
mod restart;
mod rolling_update;
mod snapshots;
mod telemetry;
mod tools;
