//! The types generated from `proto/`. They stay at the edges: api, client, codecs and `state_machine/command`.
#![allow(missing_docs, clippy::all, clippy::pedantic, rustdoc::all)]

/// The interface of clients: package `quorate.v1`.
pub mod v1 {
    tonic::include_proto!("quorate.v1");
}

/// What peers say to each other, and what log records carry: package `quorate.internal`.
pub mod internal {
    tonic::include_proto!("quorate.internal");
}

/// All definitions, for gRPC reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
