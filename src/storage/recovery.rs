//! Reads the log from its first frame to its last when the node starts, and leaves it ready to be appended to.
//!
//! First everything is checked; only then is anything changed. See the folder's notes on what is rot and what is a torn write.

use std::collections::BTreeMap;
use std::ops::Range;

use bytes::Bytes;

use super::codec;
use super::disk::Disk;
use super::error::Error;
use super::frame::{self, Chain, Frame};
use super::positions::{Position, Positions};
use super::record::{self, Record};
use super::segment::{self, Header, Segment, Unreadable};
use crate::ids::{EntryId, Index, ShardId};
use crate::raft::{Configuration, Payload, Recovered};

/// What was found at start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecoveryReport {
    /// Segments of the log.
    pub segments: u64,
    /// Frames in them.
    pub frames: u64,
    /// Entries that the logs of all shards hold.
    pub entries: u64,
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
    let mut scan = Scan::new(disk);
    let ids = segment::ids(disk)?;
    for (at, id) in ids.iter().enumerate() {
        scan.read_segment(*id, at + 1 == ids.len())?;
    }
    scan.finish()
}

struct Scan<'a> {
    disk: &'a dyn Disk,
    shards: BTreeMap<ShardId, Recovered>,
    positions: Positions,
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
    fn new(disk: &'a dyn Disk) -> Self {
        Self {
            disk,
            shards: BTreeMap::new(),
            positions: Positions::default(),
            chain: Chain::START,
            head: None,
            empty: None,
            report: RecoveryReport::default(),
        }
    }

    fn read_segment(&mut self, id: u64, last: bool) -> Result<(), Error> {
        // Compaction will have the log begin at a later segment; the snapshot then says at which one.
        let expected = self.head.as_ref().map_or(1, |head| head.header.id + 1);
        if id != expected {
            let missing = self.disk.describe(&segment::name(expected));
            return Err(Error::corrupt(missing, 0, "the file is missing, and later ones are there"));
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
            None if source.last => self.empty = Some(id),
            None => return Err(Error::corrupt(source.file, end as u64, "frames are missing")),
        }
        Ok(())
    }

    /// The header says which frames come before: are they there?
    fn check_header(&self, source: &Source<'_>, id: u64) -> Result<(), Error> {
        if source.header.id != id {
            return Err(Error::corrupt(source.file, 0, format!("the header is that of segment {}", source.header.id)));
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

    /// What follows the last good frame is zeros, or a torn frame at the very end of the log, or rot.
    fn check_rest(&mut self, source: &Source<'_>, end: usize, why: &'static str) -> Result<(), Error> {
        let rest = &source.bytes[end..];
        let Some(last_byte) = rest.iter().rposition(|byte| *byte != 0) else { return Ok(()) };
        if !source.last {
            return Err(Error::corrupt(source.file, end as u64, format!("{why}, and later segments exist")));
        }
        if let Some((at, sequence)) = frame::find_later(source.bytes, end + 1, &source.header, self.chain.sequence) {
            let why = format!("{why}, and the later frame {sequence} at offset {at} is good");
            return Err(Error::corrupt(source.file, end as u64, why));
        }
        let bytes = last_byte as u64 + 1;
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
            let position = Position { segment: source.header.id, offset: at as u32, length };
            self.take_record(&record, position).map_err(corrupt)?;
            rest = after;
        }
        self.chain = frame.chain();
        self.report.frames += 1;
        self.report.bytes += frame.size() as u64;
        Ok(())
    }

    fn take_record(&mut self, record: &Record<'_>, position: Position) -> Result<(), String> {
        let configuration = match record.kind {
            record::HARD_STATE => {
                self.shards.entry(record.shard).or_default().hard_state = record.hard_state()?;
                return Ok(());
            }
            codec::NOOP | codec::COMMAND => None,
            codec::CONFIGURATION => Some(decode_configuration(record.payload)?),
            kind => return Err(format!("no record has kind {kind}")),
        };
        let shard = self.shards.entry(record.shard).or_default();
        if record.id.index == Index(0) || record.id.index > shard.last.next() {
            return Err(format!("entry {} of shard {} follows entry {}", record.id, record.shard, shard.last));
        }
        put(shard, record.id, configuration);
        self.positions.put(record.shard, record.id.index, position);
        Ok(())
    }

    /// Everything is checked: cut what is torn, and make durable what is there.
    fn finish(mut self) -> Result<Recovery, Error> {
        let head = match &self.head {
            Some(scanned) => Some(self.repair_head(scanned)?),
            None => None,
        };
        if let Some(id) = self.empty {
            let name = segment::name(id);
            self.disk.remove(&name).map_err(Error::io("remove", self.disk.describe(&name)))?;
        }
        self.disk.sync_directory().map_err(Error::io("sync", self.disk.describe("")))?;
        self.report.entries = self.shards.values().map(|shard| shard.last.0).sum();
        Ok(Recovery { shards: self.shards, positions: self.positions, chain: self.chain, head, report: self.report })
    }

    /// The last frame may be in the cache of the system only: its sync may not have begun, or may have failed. A sync alone
    /// does not help after a failed one, so the frame is written once more.
    fn repair_head(&self, scanned: &Scanned) -> Result<Head, Error> {
        let name = segment::name(scanned.header.id);
        let segment = Segment::open(self.disk, scanned.header)?;
        let Range { start, end } = scanned.last_frame;
        let frame = read_range(self.disk, &name, start, end - start)?;
        segment.write(start, &frame)?;
        if self.report.torn_tail.is_some() && self.empty.is_none() {
            segment.write(end, &vec![0; (scanned.size - end) as usize])?;
        }
        segment.sync()?;
        Ok(Head { segment, end, filled: scanned.size })
    }
}

/// Adds an entry to what the log of a shard is known to hold; entries at and above its index are gone with it.
fn put(shard: &mut Recovered, id: EntryId, configuration: Option<Configuration>) {
    while shard.terms.pop_if(|first| first.index >= id.index).is_some() {}
    while shard.configurations.pop_if(|(index, _)| *index >= id.index).is_some() {}
    if shard.terms.last().is_none_or(|first| first.term != id.term) {
        shard.terms.push(id);
    }
    shard.configurations.extend(configuration.map(|configuration| (id.index, configuration)));
    shard.last = id.index;
}

fn decode_configuration(payload: &[u8]) -> Result<Configuration, String> {
    match codec::decode_payload(codec::CONFIGURATION, Bytes::copy_from_slice(payload)) {
        Ok(Payload::Configuration { configuration, .. }) => Ok(configuration),
        Ok(_) => unreachable!("the kind is that of a configuration"),
        Err(error) => Err(error.to_string()),
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
