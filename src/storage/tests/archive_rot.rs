//! Bytes of the files besides the log are not what was written: each is an error that names the file, and nothing is changed.

use super::*;
use crate::storage::{files::FileId, manifest};

const SEGMENT: &str = "segment-0000000000000001.log";

/// A store whose archive is a segment, a file of bodies, and their indexes. All entries of the log that live: 1, 2 and 9 to 12.
fn archived() -> MemoryDisk {
    let disk = MemoryDisk::default();
    let (mut log, _) = open(&disk);
    for index in 1..=12 {
        put(&mut log, vec![command(1, index, &[fill(index); 400])]);
    }
    shorten(&log, 12, &living([1, 2, 3, 4, 5, 9, 10, 11, 12]));
    shorten_again(&mut log, 13, &[1, 2, 3, 4, 9]);
    disk
}

fn shorten_again(log: &mut Log<MemoryDisk>, index: u64, indexes: &[u64]) {
    put(log, vec![command(1, index, &[13; 900])]);
    shorten(log, index, &living(indexes.iter().copied()));
}

fn archive_of(disk: &MemoryDisk) -> Vec<FileId> {
    manifest::read(disk).unwrap().archive.iter().map(|file| file.file).collect()
}

fn size(disk: &MemoryDisk, name: &str) -> u64 {
    disk.open(name).unwrap().size().unwrap()
}

#[test]
fn the_archive_has_segments_and_files_of_bodies() {
    let files = archive_of(&archived());
    assert!(files.iter().any(|file| file.is_bodies()) && files.iter().any(|file| !file.is_bodies()), "{files:?}");
    assert!(files.contains(&FileId::parse(SEGMENT).unwrap()));
}

#[test]
fn a_flipped_bit_in_every_byte_of_an_index_or_a_manifest_is_named() {
    let disk = archived();
    let files = archive_of(&disk);
    let names = files.iter().map(|file| file.index_name()).chain([manifest::NAME.to_owned()]);
    for name in names {
        for at in 0..size(&disk, &name) {
            let rotten = disk.duplicate();
            rotten.flip_bit(&name, at, (at % 8) as u8);
            assert_named(&rotten, &name);
        }
    }
}

#[test]
fn a_flipped_bit_in_the_header_of_an_archived_file_is_named() {
    let disk = archived();
    for file in archive_of(&disk) {
        for at in 0..if file.is_bodies() { 24 } else { 40 } {
            let rotten = disk.duplicate();
            rotten.flip_bit(&file.name(), at, 1);
            assert_named(&rotten, &file.name());
        }
    }
}

#[test]
fn a_file_that_is_missing_or_short_is_named() {
    let disk = archived();
    let files = archive_of(&disk);
    let names = files.iter().flat_map(|file| [file.name(), file.index_name()]);
    for name in names.chain(["snapshot-13".to_owned()]) {
        let less = disk.duplicate();
        less.remove(&name).unwrap();
        assert_named(&less, &name);
        less.create(&name).unwrap().write_at(0, &[0; 19]).unwrap();
        assert_named(&less, &name);
    }
}

#[test]
fn rot_of_a_body_is_found_when_it_is_read_or_copied() {
    let disk = archived();
    let (log, _) = open(&disk);
    let mut found = 0;
    for index in [1, 2, 3, 4, 9] {
        let position = log.store().shard(SHARD_0).body(Index(index)).unwrap();
        let rotten = disk.duplicate();
        rotten.flip_bit(&position.file.name(), position.end() - 1, 0);
        let (log, _) = open(&rotten);
        match log.reader().body(SHARD_0, Index(index)) {
            Err(Error::Corrupt { file, offset, .. }) => {
                assert_eq!((file, offset), (position.file.name(), u64::from(position.offset)));
            }
            other => panic!("body {index}: {other:?}"),
        }
        // Only what lives in a file that is mostly dead is copied.
        let last = log.store().snapshot(SHARD_0).unwrap().last;
        match log.store().compact(SHARD_0, last, &living([index]), &mut at_once) {
            Err(Error::Corrupt { file, .. }) => assert_eq!(file, position.file.name()),
            other => panic!("body {index}: {other:?}"),
        }
        found += 1;
    }
    assert_eq!(found, 5);
}

/// The snapshot was in force when its entries were durable: a log that ends before has lost some.
#[test]
fn a_log_that_ends_before_its_snapshot_is_rot() {
    let disk = MemoryDisk::default();
    let (mut log, _) = open(&disk);
    put(&mut log, (1..=3).map(|index| command(1, index, b"body")).collect());
    let end = 40 + open(&disk).0.recovery().bytes;
    put(&mut log, vec![command(1, 4, b"the last")]);
    let (last, start) = (EntryId::new(Term(1), Index(4)), EntryId::new(Term(1), Index(2)));
    log.store().disk().create("snapshot-a").unwrap();
    log.store().commit_snapshot(SHARD_0, &written("snapshot-a", "snapshot-b", last, 0), start).unwrap();
    let rotten = disk.duplicate();
    rotten.flip_bit(SEGMENT, end + 9, 0);
    match Log::open(rotten, options()).err() {
        Some(Error::Corrupt { file, offset, .. }) => assert_eq!((file.as_str(), offset), (SEGMENT, end)),
        other => panic!("{other:?}"),
    }
}

/// The chain begins with a segment whose first frame was durable: without it nobody knows the hard states.
#[test]
fn the_first_frame_of_a_chain_is_never_cut() {
    let disk = archived();
    let first = FileId::segment(manifest::read(&disk).unwrap().chain_first).name();
    assert_eq!(open(&disk).0.recovery().segments, 1);
    for at in 40..80 {
        let rotten = disk.duplicate();
        rotten.flip_bit(&first, at, 0);
        assert_named(&rotten, &first);
    }
    disk.remove(&first).unwrap();
    assert_named(&disk, &first);
}

#[test]
fn files_of_a_later_release_are_told_by_their_version_and_stay_untouched() {
    let disk = archived();
    let bodies = archive_of(&disk).into_iter().find(|file| file.is_bodies()).unwrap();
    for name in [bodies.name(), bodies.index_name()] {
        let later = disk.duplicate();
        let file = later.open(&name).unwrap();
        let mut bytes = vec![0; size(&later, &name) as usize];
        file.read_at(0, &mut bytes).unwrap();
        bytes[8] = 2;
        let (crc, at) = if name.ends_with("index") {
            (crc32c::crc32c_append(crc32c::crc32c(&bytes[..12]), &bytes[16..]), 12)
        } else {
            (crc32c::crc32c(&bytes[..20]), 20)
        };
        bytes[at..at + 4].copy_from_slice(&crc.to_le_bytes());
        file.write_at(0, &bytes).unwrap();
        assert_newer(&later, &name);
    }
    let later = disk.duplicate();
    crate::storage::whole_file::write(&later, manifest::NAME, "{\"format_version\": 2, \"other\": []}").unwrap();
    assert_newer(&later, manifest::NAME);
}

fn assert_newer(disk: &MemoryDisk, name: &str) {
    let before = disk.operations();
    match Log::open(disk.clone(), options()).err() {
        Some(Error::NewerFormat { file, found: 2, known: 1 }) => assert_eq!(file, name),
        other => panic!("{name}: {other:?}"),
    }
    assert_eq!(disk.operations(), before);
}

fn assert_named(disk: &MemoryDisk, name: &str) {
    let before = disk.operations();
    match Log::open(disk.clone(), options()).err() {
        Some(Error::Corrupt { file, .. } | Error::Damaged { file, .. }) => assert_eq!(file, name),
        other => panic!("{name}: {other:?}"),
    }
    assert_eq!(disk.operations(), before);
}
