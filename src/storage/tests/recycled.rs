//! A segment made of a file that had another life: what is left of that never passes for a part of the log.

use super::*;
use crate::storage::{frame, segment};

/// Five frames in one recycled segment, and the disk before the last of them. Returns where each begins, and where the last ends.
fn five_frames() -> (MemoryDisk, MemoryDisk, String, Vec<u64>) {
    let disk = MemoryDisk::default();
    let (mut log, _) = open(&disk);
    // The frames of the earlier life lie where those of the later one will.
    put(&mut log, vec![command(1, 1, &[0xee; 1800])]);
    for index in 2..=12 {
        put(&mut log, vec![command(1, index, &[0xee; 90])]);
    }
    for index in 13..=14 {
        put(&mut log, vec![command(1, index, &[0xee; 1800])]);
    }
    shorten(&log, 14, &[]);
    put(&mut log, vec![command(1, 15, &[1; 90])]);
    let name = segment::name(segment::ids(&disk).unwrap().into_iter().max().unwrap());
    let mut offsets = vec![40];
    let mut before = disk.duplicate();
    for index in 16..=20 {
        offsets.push(frames(&disk, &name));
        if index < 20 {
            before = disk.duplicate();
            put(&mut log, vec![command(1, index, &[index as u8; 90])]);
        }
    }
    (disk, before, name, offsets)
}

/// Where the frames of a segment end.
fn frames(disk: &MemoryDisk, name: &str) -> u64 {
    let bytes = read(disk, name);
    let header = segment::Header::decode(&bytes).unwrap();
    assert!(header.recycled);
    let mut end = 40;
    while let Ok(frame) = frame::Frame::decode(&bytes[end..], &header) {
        end += frame.size();
    }
    end as u64
}

fn read(disk: &MemoryDisk, name: &str) -> Vec<u8> {
    let file = disk.open(name).unwrap();
    let mut bytes = vec![0; file.size().unwrap() as usize];
    file.read_at(0, &mut bytes).unwrap();
    bytes
}

fn overwrite(disk: &MemoryDisk, name: &str, at: u64, bytes: &[u8]) {
    let file = disk.open(name).unwrap();
    file.write_at(at, bytes).unwrap();
    file.sync().unwrap();
}

#[test]
fn what_was_there_before_is_not_told_of_and_not_read() {
    let (disk, _, name, offsets) = five_frames();
    let rest = read(&disk, &name).split_off(offsets[5] as usize);
    assert!(rest[..32].iter().all(|byte| *byte == 0) && rest.iter().any(|byte| *byte != 0));
    let (log, recovered) = open(&disk);
    assert_eq!((log.recovery().torn_tail.clone(), recovered[&SHARD_0].last), (None, Index(19)));
}

/// The last frame lost its end, or its start, at every place: what was there before shows.
#[test]
fn a_torn_frame_over_what_was_there_before_is_cut() {
    let (disk, before, name, offsets) = five_frames();
    let (start, end) = (offsets[4] as usize, offsets[5] as usize);
    let (whole, old) = (read(&disk, &name), read(&before, &name));
    for at in start..=end + 31 {
        for (from, to) in [(start, at), (at, end + 32)] {
            let torn = before.duplicate();
            overwrite(&torn, &name, from as u64, &whole[from..to]);
            let is_whole = read(&torn, &name)[start..end] == whole[start..end];
            let shows = read(&torn, &name)[start..start + 32].iter().any(|byte| *byte != 0);
            assert_goes_on(&torn, is_whole, shows && !is_whole, &format!("{from}..{to} of {start}..{end}"));
        }
    }
    assert_ne!(old[start + 32..end], whole[start + 32..end]);
}

fn assert_goes_on(disk: &MemoryDisk, is_whole: bool, told: bool, context: &str) {
    let (mut log, recovered) = open(disk);
    let last = if is_whole { 19 } else { 18 };
    assert_eq!(recovered[&SHARD_0].last, Index(last), "{context}");
    if !is_whole {
        assert_eq!(log.recovery().torn_tail.is_some(), told, "{context}");
    }
    put(&mut log, vec![command(2, last + 1, b"shorter")]);
    let (log, recovered) = open(disk);
    assert_eq!((recovered[&SHARD_0].last, log.recovery().torn_tail.clone()), (Index(last + 1), None), "{context}");
}

#[test]
fn rot_is_told_from_the_end() {
    let (disk, _, name, offsets) = five_frames();
    let corrupt = |disk: &MemoryDisk, at: u64| match Log::open(disk.clone(), options()).err() {
        Some(Error::Corrupt { file, offset, .. }) => assert_eq!((&file, offset), (&name, at)),
        other => panic!("expected rot at {at}, got {other:?}"),
    };
    for frame in [1, 2, 3] {
        for at in offsets[frame]..offsets[frame + 1] {
            let rotten = disk.duplicate();
            rotten.flip_bit(&name, at, 3);
            corrupt(&rotten, offsets[frame]);
        }
    }
    let vanished = disk.duplicate();
    overwrite(&vanished, &name, offsets[2], &vec![0; (offsets[4] - offsets[2]) as usize]);
    corrupt(&vanished, offsets[2]);
    // The end of a segment that is not the last one is never cut, be it zeros.
    let (mut log, _) = open(&disk);
    put(&mut log, vec![command(1, 20, &[20; 1800])]);
    drop(log);
    for rot in [vec![0; (offsets[5] - offsets[4]) as usize], vec![9; 1]] {
        let rotten = disk.duplicate();
        overwrite(&rotten, &name, offsets[4], &rot);
        corrupt(&rotten, offsets[4]);
    }
    assert_eq!(open(&disk).1[&SHARD_0].last, Index(20));
}

/// A power cut while a spare file becomes a segment.
#[test]
fn a_spare_becomes_a_segment_as_a_whole() {
    use rand::SeedableRng;
    let mut outcomes = std::collections::BTreeSet::new();
    for operations in 0..8 {
        for seed in 0..40 {
            let (disk, ..) = five_frames();
            let (mut log, _) = open(&disk);
            disk.cut_power_after(operations);
            let written = log.append(&[(SHARD_0, write(vec![command(1, 20, &[20; 1800])]))]);
            let done = written.and_then(|()| log.sync()).is_ok();
            disk.crash(&mut rand_chacha::ChaCha8Rng::seed_from_u64(seed));
            let (mut log, recovered) = open(&disk);
            let last = recovered[&SHARD_0].last;
            assert!(last == Index(20) || (!done && last == Index(19)), "{operations} operations, seed {seed}: {last}");
            outcomes.insert((last, log.recovery().torn_tail.is_some()));
            put(&mut log, vec![command(1, last.next().0, &[21; 1800])]);
            assert_eq!(open(&disk).1[&SHARD_0].last, last.next());
        }
    }
    assert!(outcomes.len() >= 3, "{outcomes:?}");
}
