//! Bytes on disk are not what was written: a torn tail is cut and told of, rot is an error that names the place.

use super::*;
use crate::storage::{frame, segment};

const FIRST: &str = "segment-0000000000000001.log";

/// Five frames in one segment, with where each begins, and where the last ends.
fn five_frames() -> (MemoryDisk, Vec<u64>) {
    let disk = MemoryDisk::default();
    let (mut log, _) = open(&disk);
    let mut offsets = vec![segment::HEADER_BYTES as u64];
    for index in 1..=5 {
        put(&mut log, vec![command(1, index, &[index as u8; 90])]);
        offsets.push(offsets[0] + open(&disk).0.recovery().bytes);
    }
    (disk, offsets)
}

/// Puts zeros in the place of bytes.
fn erase(disk: &MemoryDisk, range: std::ops::Range<u64>) {
    let file = disk.open(FIRST).unwrap();
    file.write_at(range.start, &vec![0; (range.end - range.start) as usize]).unwrap();
    file.sync().unwrap();
}

fn assert_corrupt(disk: &MemoryDisk, at: u64) {
    match Log::open(disk.clone(), options()).err() {
        Some(Error::Corrupt { file, offset, .. }) => assert_eq!((file.as_str(), offset), (FIRST, at)),
        other => panic!("expected rot at {at}, got {other:?}"),
    }
}

fn assert_cut(disk: &MemoryDisk, at: u64, context: &str) {
    let (mut log, recovered) = open(disk);
    assert_eq!(recovered[&SHARD_0].last, Index(4), "{context}");
    let torn = log.recovery().torn_tail.clone().unwrap_or_else(|| panic!("no torn tail {context}"));
    assert_eq!((torn.file.as_str(), torn.offset), (FIRST, at), "{context}");
    put(&mut log, vec![command(2, 5, b"instead")]);
    let (log, recovered) = open(disk);
    assert_eq!((recovered[&SHARD_0].last, log.recovery().torn_tail.clone()), (Index(5), None), "{context}");
}

/// The last frame lost its end, or its start, or all but one byte, at every place.
#[test]
fn a_torn_tail_at_every_offset_is_cut_and_reported() {
    let (disk, offsets) = five_frames();
    let (start, end) = (offsets[4], offsets[5]);
    for at in start + 1..end {
        for (range, kept) in [(at..end, start..at), (start..at, at..end)] {
            let torn = disk.duplicate();
            erase(&torn, range.clone());
            assert_cut(&torn, start, &format!("with {kept:?} kept of {start}..{end}"));
        }
    }
    let gone = disk.duplicate();
    erase(&gone, start..end);
    let (log, recovered) = open(&gone);
    assert_eq!((recovered[&SHARD_0].last, log.recovery().torn_tail.clone()), (Index(4), None), "nothing of it is left");
}

/// A crash can also leave the file shorter than its last frame.
#[test]
fn a_file_that_ends_within_its_last_frame_is_cut() {
    let (disk, offsets) = five_frames();
    let file = disk.open(FIRST).unwrap();
    for length in offsets[4] + 1..offsets[5] {
        let mut bytes = vec![0; length as usize];
        file.read_at(0, &mut bytes).unwrap();
        let torn = MemoryDisk::default();
        torn.create(FIRST).unwrap().write_at(0, &bytes).unwrap();
        assert_cut(&torn, offsets[4], &format!("with a length of {length}"));
    }
}

#[test]
fn a_flipped_bit_in_every_byte_of_a_middle_frame_is_rot_and_nothing_is_changed() {
    let (disk, offsets) = five_frames();
    for frame in [0, 2, 3] {
        for at in offsets[frame]..offsets[frame + 1] {
            for bit in 0..8 {
                let rotten = disk.duplicate();
                rotten.flip_bit(FIRST, at, bit);
                let before = rotten.operations();
                assert_corrupt(&rotten, offsets[frame]);
                assert_eq!(rotten.operations(), before);
            }
        }
    }
}

#[test]
fn frames_that_vanished_are_rot() {
    let (disk, offsets) = five_frames();
    erase(&disk, offsets[2]..offsets[4]);
    assert_corrupt(&disk, offsets[2]);
}

/// The price of cutting torn frames, as the notes of the folder say.
#[test]
fn a_flipped_bit_in_the_last_frame_is_taken_for_a_torn_write() {
    let (disk, offsets) = five_frames();
    for at in offsets[4]..offsets[5] {
        let rotten = disk.duplicate();
        rotten.flip_bit(FIRST, at, 3);
        assert_cut(&rotten, offsets[4], &format!("with byte {at} flipped"));
    }
}

#[test]
fn a_flipped_bit_in_a_segment_header_is_rot() {
    let (disk, _) = five_frames();
    for at in 0..segment::HEADER_BYTES as u64 {
        let rotten = disk.duplicate();
        rotten.flip_bit(FIRST, at, 5);
        assert_corrupt(&rotten, 0);
    }
}

/// Once a later segment exists, the end of an earlier one was durable: nothing in it can be a torn write.
#[test]
fn the_end_of_a_segment_that_is_not_the_last_is_never_cut() {
    let (disk, offsets) = five_frames();
    let (mut log, _) = open(&disk);
    put(&mut log, vec![command(1, 6, &[6; 1800])]);
    assert_eq!(log.recovery().segments, 1);
    assert_eq!(open(&disk).0.recovery().segments, 2);

    let flipped = disk.duplicate();
    flipped.flip_bit(FIRST, offsets[5] - 1, 0);
    assert_corrupt(&flipped, offsets[4]);
    erase(&disk, offsets[4]..offsets[5]);
    assert_corrupt(&disk, offsets[4]);
}

#[test]
fn a_missing_segment_is_named() {
    let disk = MemoryDisk::default();
    let (mut log, _) = open(&disk);
    for index in 1..=3 {
        put(&mut log, vec![command(1, index, &[0; 1800])]);
    }
    for name in [FIRST, "segment-0000000000000002.log"] {
        let less = disk.duplicate();
        less.remove(name).unwrap();
        let error = Log::open(less, options()).err().expect("a segment is missing").to_string();
        assert!(error.contains(name), "{error}");
    }
}

/// The same, when all there is of the later segment is a file without a header.
#[test]
fn the_end_of_a_segment_is_not_cut_when_another_was_being_made() {
    let (disk, offsets) = five_frames();
    disk.create("segment-0000000000000002.log").unwrap();
    let intact = disk.duplicate();
    assert_eq!(open(&intact).1[&SHARD_0].last, Index(5));
    disk.flip_bit(FIRST, offsets[5] - 1, 0);
    assert_corrupt(&disk, offsets[4]);
}

/// A disk that writes to the wrong place leaves frames whose checksum holds: their numbers tell.
#[test]
fn frames_in_the_wrong_place_are_rot() {
    let (disk, offsets) = five_frames();
    let header = segment::Header { id: 1, salt: options().salt, chain: frame::Chain::START, recycled: false };
    let chain_at = |at: usize| {
        let file = disk.open(FIRST).unwrap();
        let mut bytes = vec![0; (offsets[at + 1] - offsets[at]) as usize];
        file.read_at(offsets[at], &mut bytes).unwrap();
        frame::Frame::decode(&bytes, &header).unwrap().chain()
    };
    let good = chain_at(4);
    let wrong = [
        frame::Chain { sequence: 7, ..good },
        frame::Chain { sequence: 5, ..good },
        frame::Chain { crc: good.crc ^ 1, ..good },
        chain_at(1),
    ];
    for chain in wrong {
        assert_sixth_frame_is_corrupt(&disk, offsets[5], &header, chain, &command(1, 6, b"six"));
    }
    let elsewhere = segment::Header { id: 2, ..header };
    let mut foreign = sealed(&elsewhere, good, &command(1, 6, b"six"));
    overwrite(&disk, offsets[5], &foreign);
    assert_cut_of_nothing(&disk, offsets[5]);
    foreign.fill(0);
    overwrite(&disk, offsets[5], &foreign);
    assert_sixth_frame_is_corrupt(&disk, offsets[5], &header, good, &command(1, 9, b"leaves a gap"));
    assert_sixth_frame_is_corrupt(&disk, offsets[5], &header, good, &command(1, 0, b"no index"));
}

fn sealed(header: &segment::Header, chain: frame::Chain, entry: &Entry) -> Vec<u8> {
    let mut bytes = frame::begin();
    crate::storage::record::encode_entry(SHARD_0, entry, &mut bytes);
    frame::seal(&mut bytes, header, chain);
    bytes
}

fn overwrite(disk: &MemoryDisk, at: u64, bytes: &[u8]) {
    let file = disk.open(FIRST).unwrap();
    file.write_at(at, bytes).unwrap();
    file.sync().unwrap();
}

fn assert_cut_of_nothing(disk: &MemoryDisk, at: u64) {
    let (log, recovered) = open(&disk.duplicate());
    assert_eq!(recovered[&SHARD_0].last, Index(5));
    assert_eq!(log.recovery().torn_tail.as_ref().map(|torn| torn.offset), Some(at));
}

fn assert_sixth_frame_is_corrupt(
    disk: &MemoryDisk,
    at: u64,
    header: &segment::Header,
    chain: frame::Chain,
    entry: &Entry,
) {
    let disk = disk.duplicate();
    overwrite(&disk, at, &sealed(header, chain, entry));
    match Log::open(disk, options()).err() {
        Some(Error::Corrupt { file, offset, .. }) => assert!(file == FIRST && offset >= at, "{file} {offset}"),
        other => panic!("{chain:?} {entry:?}: {other:?}"),
    }
}

#[test]
fn a_segment_under_the_name_of_another_is_rot() {
    let disk = MemoryDisk::default();
    let (mut log, _) = open(&disk);
    for index in 1..=3 {
        put(&mut log, vec![command(1, index, &[0; 1800])]);
    }
    disk.rename("segment-0000000000000003.log", "segment-0000000000000002.log").unwrap();
    let error = Log::open(disk, options()).err().expect("segment 2 is gone").to_string();
    assert!(error.contains("segment-0000000000000002.log") && error.contains("of segment 3"), "{error}");
}

#[test]
fn an_entry_in_the_place_of_another_is_not_read() {
    let (disk, offsets) = five_frames();
    let (log, _) = open(&disk);
    let file = disk.open(FIRST).unwrap();
    let mut frame = vec![0; (offsets[2] - offsets[1]) as usize];
    file.read_at(offsets[1], &mut frame).unwrap();
    overwrite(&disk, offsets[2], &frame);
    let error = log.reader().read(SHARD_0, Index(3), Index(3), 1).unwrap_err();
    assert!(matches!(&error, Error::Corrupt { .. }), "{error}");
}

#[test]
fn rot_is_also_found_when_an_entry_is_read_back() {
    let (disk, offsets) = five_frames();
    let (log, _) = open(&disk);
    let record = offsets[2] + frame::HEADER_BYTES as u64;
    for at in record..offsets[3] {
        disk.flip_bit(FIRST, at, 1);
        match log.reader().read(SHARD_0, Index(1), Index(5), u64::MAX) {
            Err(Error::Corrupt { file, offset, .. }) => assert_eq!((file.as_str(), offset), (FIRST, record)),
            other => panic!("byte {at}: {other:?}"),
        }
        disk.flip_bit(FIRST, at, 1);
    }
}

/// A message body can hold the bytes of a frame, but not with the salt of the log: a torn frame stays a torn frame.
#[test]
fn a_body_cannot_pass_for_a_frame() {
    let forge = |salt| {
        let header = segment::Header { id: 1, salt, chain: frame::Chain::START, recycled: false };
        let mut forged = frame::begin();
        frame::seal(&mut forged, &header, frame::Chain { sequence: 6, crc: 0 });
        forged
    };
    let disk = MemoryDisk::default();
    let (mut log, _) = open(&disk);
    put(&mut log, (1..=4).map(|index| command(1, index, b"")).collect());
    let start = segment::HEADER_BYTES as u64 + open(&disk).0.recovery().bytes;
    put(&mut log, vec![command(1, 5, &forge(99))]);
    erase(&disk, start..start + 20);
    assert_cut(&disk, start, "with a forged frame");

    let (mut log, _) = open(&disk);
    let start = segment::HEADER_BYTES as u64 + open(&disk).0.recovery().bytes;
    put(&mut log, vec![command(2, 6, &forge(options().salt))]);
    erase(&disk, start..start + 20);
    assert_corrupt(&disk, start);
}

#[test]
fn a_segment_of_a_later_release_is_told_by_its_version() {
    let (disk, _) = five_frames();
    let file = disk.open(FIRST).unwrap();
    let mut header = [0; segment::HEADER_BYTES];
    file.read_at(0, &mut header).unwrap();
    header[8] = 3;
    let crc = crc32c::crc32c(&header[..36]);
    header[36..].copy_from_slice(&crc.to_le_bytes());
    file.write_at(0, &header).unwrap();
    let error = Log::open(disk, options()).err();
    assert!(matches!(error, Some(Error::NewerFormat { found: 3, known: 2, .. })), "{error:?}");
}
