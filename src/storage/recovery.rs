//! Reads the log from its first frame to its last when the node starts, and leaves it ready to be appended to.
//!
//! First everything is checked; only then is anything changed. See the folder's notes on what is rot and what is a torn write.

use std::collections::BTreeMap;
use std::ops::Range;

use super::archive;
use super::disk::Disk;
use super::error::Error;
use super::files::FileId;
use super::frame::{self, Chain, Frame};
use super::leftovers::{self, Leftovers};
use super::manifest::{self, Manifest};
use super::positions::{Position, Positions};
use super::record::Record;
use super::replay::Replay;
use super::segment::{self, Header, Segment, Unreadable};
use crate::ids::ShardId;
use crate::raft::Recovered;

/// What was found at start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecoveryReport {
    /// Segments of the log that were read.
    pub segments: u64,
    /// Frames in them.
    pub frames: u64,
    /// Entries that the logs of all shards hold.
    pub entries: u64,
    /// Files that are kept for the bodies in them.
    pub archive_files: u64,
    /// What a crash had left behind and was removed.
    pub leftovers: u64,
    /// Bytes of all frames.
    pub bytes: u64,
    /// What was cut off the end.
    pub torn_tail: Option<TornTail>,
}

/// A frame that was not written to its end, and was cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TornTail {
    /// The segment.
    pub file: String,
    /// Where the frame began.
    pub offset: u64,
    /// How much of it there was.
    pub bytes: u64,
    /// What does not hold.
    pub why: &'static str,
}

/// The log as it was found.
pub struct Recovery {
    /// What each shard goes on from.
    pub shards: BTreeMap<ShardId, Recovered>,
    /// Where the entries lie.
    pub positions: Positions,
    /// What the next frame must say.
    pub chain: Chain,
    /// The segment to append to; none while the log is empty.
    pub head: Option<Head>,
    /// What is in force.
    pub manifest: Manifest,
    /// Files that wait to become segments, with their lengths.
    pub spares: Vec<(String, u64)>,
    /// What was found.
    pub report: RecoveryReport,
}

/// The segment that is written to.
pub struct Head {
    /// Its file.
    pub segment: Segment,
    /// Where the next frame goes.
    pub end: u64,
    /// From here on the file must be filled with zeros before it is used.
    pub filled: u64,
}

/// Reads the log and repairs its end.
///
/// # Errors
/// [`Error::Corrupt`], [`Error::NewerFormat`]: nothing was changed. [`Error::Io`].
pub fn recover(disk: &dyn Disk) -> Result<Recovery, Error> {
    let manifest = manifest::read(disk)?;
    let leftovers = leftovers::find(disk, &manifest)?;
    archive::check_snapshots(disk, &manifest)?;
    let bodies = archive::read(disk, &manifest)?;
    let mut scan = Scan::new(disk, &manifest);
    let mut ids = segment::ids(disk)?;
    ids.retain(|id| *id >= manifest.chain_first);
    for (at, id) in ids.iter().enumerate() {
        scan.read_segment(*id, at + 1 == ids.len())?;
    }
    if ids.is_empty() && manifest.chain_first > 1 {
        return Err(scan.missing(manifest.chain_first, "the file is missing, and the manifest names it"));
    }
    scan.finish(bodies, leftovers)
}

struct Scan<'a> {
    disk: &'a dyn Disk,
    manifest: &'a Manifest,
    replay: Replay<'a>,
    chain: Chain,
    /// The last segment with a frame in it.
    head: Option<Scanned>,
    /// The last segment, when no frame is in it.
    empty: Option<u64>,
    report: RecoveryReport,
}

struct Scanned {
    header: Header,
    size: u64,
    last_frame: Range<u64>,
}

/// One segment while it is read.
struct Source<'a> {
    header: Header,
    file: &'a str,
    bytes: &'a [u8],
    /// No segment comes after it.
    last: bool,
}

impl<'a> Scan<'a> {
    fn new(disk: &'a dyn Disk, manifest: &'a Manifest) -> Self {
        Self {
            disk,
            manifest,
            replay: Replay::new(manifest),
            chain: Chain::START,
            head: None,
            empty: None,
            report: RecoveryReport::default(),
        }
    }

    fn read_segment(&mut self, id: u64, last: bool) -> Result<(), Error> {
        let expected = self.head.as_ref().map_or(self.manifest.chain_first, |head| head.header.id + 1);
        if id != expected {
            return Err(self.missing(expected, "the file is missing, and later ones are there"));
        }
        let name = segment::name(id);
        let file = self.disk.describe(&name);
        let bytes = read_file(self.disk, &name)?;
        match Header::decode(&bytes) {
            Ok(header) => self.read_frames(&Source { header, file: &file, bytes: &bytes, last }, id),
            Err(Unreadable::Newer(found)) => Err(Error::NewerFormat { file, found, known: segment::FORMAT_VERSION }),
            // The crash came while the segment was made: no frame is in it, or its header would have been durable.
            Err(Unreadable::Bad(_)) if last && is_zero(bytes.get(segment::HEADER_BYTES..).unwrap_or_default()) => {
                self.empty = Some(id);
                Ok(())
            }
            Err(Unreadable::Bad(why)) => Err(Error::corrupt(file, 0, why)),
        }
    }

    fn read_frames(&mut self, source: &Source<'_>, id: u64) -> Result<(), Error> {
        self.check_header(source, id)?;
        let mut end = segment::HEADER_BYTES;
        let mut last_frame = None;
        let why = loop {
            let frame = match Frame::decode(&source.bytes[end..], &source.header) {
                Ok(frame) => frame,
                Err(why) => break why,
            };
            self.take_frame(source, end, &frame)?;
            last_frame = Some(end as u64..(end + frame.size()) as u64);
            end += frame.size();
        };
        self.check_rest(source, end, why)?;
        match last_frame {
            Some(last_frame) => {
                self.report.segments += 1;
                self.head = Some(Scanned { header: source.header, size: source.bytes.len() as u64, last_frame });
            }
            // The manifest has the chain begin at a segment only when a frame in it is durable.
            None if source.last && (id == 1 || id > self.manifest.chain_first) => self.empty = Some(id),
            None => return Err(Error::corrupt(source.file, end as u64, "frames are missing")),
        }
        Ok(())
    }

    /// The header says which frames come before: are they there?
    fn check_header(&mut self, source: &Source<'_>, id: u64) -> Result<(), Error> {
        if source.header.id != id {
            return Err(Error::corrupt(source.file, 0, format!("the header is that of segment {}", source.header.id)));
        }
        if self.head.is_none() && id == self.manifest.chain_first && id > 1 {
            // The frames before have left the chain.
            self.chain = source.header.chain;
        }
        if source.header.chain == self.chain {
            return Ok(());
        }
        let why = format!(
            "frame {} is missing: {} begins with {}",
            self.chain.sequence, source.file, source.header.chain.sequence
        );
        match &self.head {
            Some(head) => {
                let before = self.disk.describe(&segment::name(head.header.id));
                Err(Error::corrupt(before, head.last_frame.end, why))
            }
            None => Err(Error::corrupt(source.file, 0, why)),
        }
    }

    /// What follows the last good frame is zeros, or a torn frame at the very end of the log, or rot. In a recycled file only as
    /// many zeros follow as a frame has in front, and then whatever was there before.
    fn check_rest(&mut self, source: &Source<'_>, end: usize, why: &'static str) -> Result<(), Error> {
        let rest = &source.bytes[end..];
        let Some(last_byte) = rest.iter().rposition(|byte| *byte != 0) else { return Ok(()) };
        let ends = source.header.recycled && is_zero(&rest[..rest.len().min(frame::HEADER_BYTES)]);
        if !source.last {
            // The header of the next segment tells whether a frame is missing here.
            let rot = || Error::corrupt(source.file, end as u64, format!("{why}, and later segments exist"));
            return if ends { Ok(()) } else { Err(rot()) };
        }
        if let Some((at, sequence)) = frame::find_later(source.bytes, end + 1, &source.header, self.chain.sequence) {
            let why = format!("{why}, and the later frame {sequence} at offset {at} is good");
            return Err(Error::corrupt(source.file, end as u64, why));
        }
        if ends {
            return Ok(());
        }
        let bytes = if source.header.recycled { rest.len().min(frame::HEADER_BYTES) } else { last_byte + 1 } as u64;
        self.report.torn_tail = Some(TornTail { file: source.file.to_owned(), offset: end as u64, bytes, why });
        Ok(())
    }

    fn take_frame(&mut self, source: &Source<'_>, offset: usize, frame: &Frame<'_>) -> Result<(), Error> {
        if !frame.continues(self.chain) {
            let why = format!("frame {} is not the one that comes next, {}", frame.sequence, self.chain.sequence);
            return Err(Error::corrupt(source.file, offset as u64, why));
        }
        let mut rest = frame.records;
        while !rest.is_empty() {
            let at = offset + frame.size() - rest.len();
            let corrupt = |why: String| Error::corrupt(source.file, at as u64, why);
            let (record, after) = Record::decode(rest).map_err(|why| corrupt(why.to_owned()))?;
            let length = (rest.len() - after.len()) as u32;
            let position = Position { file: FileId::segment(source.header.id), offset: at as u32, length };
            self.replay.take_record(frame.sequence, &record, position).map_err(corrupt)?;
            rest = after;
        }
        self.chain = frame.chain();
        self.report.frames += 1;
        self.report.bytes += frame.size() as u64;
        Ok(())
    }

    /// Everything is checked: cut what is torn, make durable what is there, and remove what nothing names.
    fn finish(mut self, bodies: Vec<archive::Listed>, leftovers: Leftovers) -> Result<Recovery, Error> {
        let (shards, positions) = std::mem::replace(&mut self.replay, Replay::new(self.manifest))
            .finish(bodies)
            .map_err(|why| self.ends_too_early(why))?;
        let head = match &self.head {
            Some(scanned) => Some(self.repair_head(scanned)?),
            None => None,
        };
        let sync = || self.disk.sync_directory().map_err(Error::io("sync", self.disk.describe("")));
        // The manifest may have got its name a moment before a crash of the process only. While the one before can come back, the
        // files that it names must be there.
        sync()?;
        let empty = self.empty.map(segment::name);
        let stale: Vec<&String> = leftovers.stale.iter().chain(&empty).collect();
        for name in &stale {
            self.disk.remove(name).map_err(Error::io("remove", self.disk.describe(name)))?;
        }
        if !stale.is_empty() {
            sync()?;
        }
        self.report.leftovers = leftovers.stale.len() as u64;
        self.report.archive_files = self.manifest.archive.len() as u64;
        self.report.entries = positions.shards().map(|(_, positions)| positions.entries()).sum();
        let (manifest, spares) = (self.manifest.clone(), leftovers.spares);
        Ok(Recovery { shards, positions, chain: self.chain, head, manifest, spares, report: self.report })
    }

    /// Frames at the end of the log are missing that were durable.
    fn ends_too_early(&self, why: String) -> Error {
        let end =
            self.head.as_ref().map(|head| (self.disk.describe(&segment::name(head.header.id)), head.last_frame.end));
        let torn = self.report.torn_tail.as_ref().map(|torn| (torn.file.clone(), torn.offset));
        let (file, offset) = torn.or(end).unwrap_or_else(|| (self.disk.describe(manifest::NAME), 0));
        Error::corrupt(file, offset, why)
    }

    fn missing(&self, segment: u64, why: &str) -> Error {
        Error::corrupt(self.disk.describe(&segment::name(segment)), 0, why)
    }

    /// The last frame may be in the cache of the system only: its sync may not have begun, or may have failed. A sync alone
    /// does not help after a failed one, so the frame is written once more.
    fn repair_head(&self, scanned: &Scanned) -> Result<Head, Error> {
        let name = segment::name(scanned.header.id);
        let segment = Segment::open(self.disk, scanned.header)?;
        let Range { start, end } = scanned.last_frame;
        let frame = read_range(self.disk, &name, start, end - start)?;
        segment.write(start, &frame)?;
        let zeros = if scanned.header.recycled {
            // What is left of a torn frame behind them has lost its start: it cannot pass for a frame, whatever is appended.
            (scanned.size - end).min(frame::HEADER_BYTES as u64)
        } else if self.report.torn_tail.is_some() && self.empty.is_none() {
            scanned.size - end
        } else {
            0
        };
        if zeros > 0 {
            segment.write(end, &vec![0; zeros as usize])?;
        }
        segment.sync()?;
        Ok(Head { segment, end, filled: scanned.size })
    }
}

fn read_file(disk: &dyn Disk, name: &str) -> Result<Vec<u8>, Error> {
    let file = disk.open(name).map_err(Error::io("open", disk.describe(name)))?;
    let size = file.size().map_err(Error::io("read", disk.describe(name)))?;
    read_range(disk, name, 0, size)
}

fn read_range(disk: &dyn Disk, name: &str, offset: u64, length: u64) -> Result<Vec<u8>, Error> {
    let file = disk.open(name).map_err(Error::io("open", disk.describe(name)))?;
    let mut bytes = vec![0; length as usize];
    file.read_at(offset, &mut bytes).map_err(Error::io("read", disk.describe(name)))?;
    Ok(bytes)
}

fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0)
}
