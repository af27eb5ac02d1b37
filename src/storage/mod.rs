//! What a node keeps on disk: the log, written once and in order, and a few small files that say whose it is.
//!
//! # How data goes through
//!
//! ```text
//!    the loop --submit--> Writer (a thread) --append, sync--> Log ---------> segment-*.log     the chain
//!        ^                     |                               |                  |
//!        +---- on_durable -----+                               |                  | compact: what no log needs any more
//!                                                              v                  v
//!    Reader <---- positions: of the entries of the log, and of bodies <---- archive: segments and bodies-*.log, with an index
//!                                                              ^
//!    a snapshot: snapshot::Writer --commit_snapshot--> Store --+--> manifest: what of the files is in force
//!    another node: Outgoing <-- Pin <-------------------- Store       Incoming --add_bodies, offer_received--> install by the Log
//! ```
//!
//! [`Writer`] drains all writes that wait, has [`Log`] append them as one frame, syncs once, and tells which are durable.
//! [`Reader`] reads entries of the log and bodies back, also while others change the files. [`Store`] is what all of them share.
//! [`DataDirectory`] locks the directory and keeps its identity, the address book, and what the node has promised before it
//! belonged to a cluster; the data of a node that was removed is set aside in it.
//!
//! Of each shard the *log* is what comes after its start; *bodies* are what still lives of the entries before. They lie where they
//! were first written, in segments that have left the chain, until less than half of such a file lives: then what lives is copied,
//! several files into one. A file with nothing alive becomes the next segment.
//!
//! # Format
//!
//! All numbers are little-endian. One log per node, shared by all shards, in files `segment-<id as 16 hexadecimal digits>.log`:
//!
//! ```text
//!    segment   magic 8 | format version 4 | salt 4 | id 8 | first sequence 8 | CRC of the frame before 4 | CRC of these 4
//!              then frames, then zeros; in a recycled file 32 zeros, then what the file held in an earlier life
//!    frame     magic 4 | CRC of all that follows 4 | payload length 4 | CRC of the frame before 4 | sequence 8 |
//!              segment id 8 | payload: records
//!    record    CRC of all that follows 4 | payload length 4 | shard 8 | term 8 | index 8 | kind 1 | payload
//! ```
//!
//! `bodies-*.log` (see `bodies`) hold records alone; `*.index` (see `index`) says where the living ones of an archived file are,
//! `snapshot-*` (see [`snapshot`]) is a snapshot, `spare-*` waits to become a segment, and `manifest` names all that counts.
//!
//! The checksums are CRC32C. Those of frames start from the salt of their segment, a random number that no client knows, so
//! that no message body can pass for a frame, nor a frame of an earlier life. A record holds an entry or a hard state. An entry at
//! index i cuts the log of its shard at i first. The first frame of each segment repeats the hard state of every shard, so that
//! segments before it can go as soon as their entries are not needed.
//!
//! # Invariants
//!
//! - A frame is written only after the one before is durable: at most one frame, the last one, can be torn.
//! - A segment, that is its header, the zeros where its first frame begins and its name in the directory, is durable before a frame
//!   goes into it. So the existence of a segment proves that all frames before it were durable.
//! - What follows the last frame is zeros, 32 at least: a torn frame is overwritten, durably, before anything is appended.
//! - A sector of 512 bytes is written as a whole or not at all; the disk never returns a mixture.
//! - A write or sync that failed is never tried again: the log refuses all further writes.
//! - What is shortened or put in force does not rest on a frame that is not durable: a crash brings back what that has cut.
//! - Which files are in force says the manifest, which is replaced as a whole. What it names is durable before; what it does not
//!   name any more goes after, with no lock held. Once a sync of the directory or the replacement has failed, neither happens any
//!   more: see [`Error::FilesUnknown`].
//!
//! # Who waits for whom
//!
//! The thread that appends waits for one step of a compaction at most, a thousand positions. Only when it puts a received snapshot
//! in force does it wait for one replacement of the manifest by somebody else, and for its own: then it moves the positions of the
//! log that is replaced, about a microsecond for each entry, in steps between which others read. Files are unlinked by whoever made
//! them superfluous: by that thread only the file of the snapshot before, and spares when the disk is full.
//!
//! # When the disk is full
//!
//! Files that wait to become segments are given up, once, for whatever needs room. A snapshot or a compaction that finds none
//! even so leaves nothing behind and is tried again later. An append that finds none ends the node, like any write that fails.
//!
//! # When what is on disk is bad
//!
//! A bad frame that is followed by a good frame or by another segment was durable once and rotted: [`Error::Corrupt`] names
//! file and offset, and the node does not start. (Repair from the peers takes its place later.) A bad frame with nothing good
//! behind it is taken for a torn write and cut; should it have been durable and rotted, acknowledged entries are lost on
//! this node, and nothing tells the two apart. [`RecoveryReport`] reports the cut.
//!
//! # Not here
//!
//! What a snapshot has in it, and what lives: the state machine tells. When one is taken, and how fast compaction copies: the node.

mod archive;
mod bodies;
pub mod codec;
mod compaction;
mod directory;
mod disk;
mod durable;
mod error;
mod files;
mod founding_record;
mod frame;
pub mod incoming;
mod index;
mod leftovers;
mod log;
mod manifest;
mod memory;
pub mod outgoing;
mod pin;
mod positions;
mod reader;
mod record;
mod recovery;
mod replay;
mod rewrite;
mod segment;
mod set_aside;
pub mod snapshot;
mod spares;
mod store;
#[cfg(test)]
mod tests;
pub mod transfer;
mod usage;
mod weights;
mod whole_file;
mod writer;

pub use bodies::{BodiesWriter, FinishedBodies};
pub use compaction::Compacted;
pub use directory::{DataDirectory, Identity};
pub use disk::{Disk, File, FileDisk, Space};
pub use error::Error;
pub use founding_record::{FoundingRecord, Proposal};
pub use log::{Log, Options, SEGMENT_BYTES_MAX};
pub use manifest::SnapshotFile;
pub use memory::MemoryDisk;
pub use pin::Pin;
pub use reader::Reader;
pub use recovery::{RecoveryReport, TornTail};
pub use store::{Received, SNAPSHOT_PREFIX, Store};
pub use usage::{Oldest, Usage, WhyKept, Written};
pub use writer::{Durable, Synced, Writer};
