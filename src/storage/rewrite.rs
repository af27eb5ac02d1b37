//! Writes what lives of files of the archive once more, so that the rest of them can go.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use super::bodies::{BodiesWriter, FinishedBodies};
use super::codec;
use super::compaction::{Run, is_there};
use super::error::Error;
use super::files::FileId;
use super::index::{self, Listed};
use super::manifest::ArchiveFile;
use super::positions::{Position, ShardPositions};
use super::record::Record;
use super::spares::Stale;
use super::store::STEP_ENTRIES_MAX;
use super::usage::Purpose;
use crate::ids::{Index, ShardId};

/// So many small files of about one size are made one.
pub const SMALL_FILES_MAX: usize = 8;

/// Files of one size differ by less than this factor.
const SIZE_FACTOR: u64 = 4;

/// All files that are smaller than this part of a segment are of one size: to copy them costs next to nothing.
const SMALLEST_PART: u64 = 1024;

/// So many files with nothing alive go at a time: as long as that takes, the next ones are there.
const DEAD_FILES_MAX: usize = 64;

/// What a file and its index take before the first body: no file is dead for that.
pub const FIXED_BYTES: u64 = 64;

/// What lives of one file.
#[derive(Clone, Copy, Debug, Default)]
struct Alive {
    /// At least so many bytes.
    lower: u64,
    /// At most so many.
    upper: u64,
}

/// A body that has been written once more.
type Moved = (ShardId, Index, Position, Position);

/// The state of the archive that a compaction decides on.
struct Archive {
    files: Vec<ArchiveFile>,
    shards: BTreeMap<ShardId, ShardPositions>,
}

/// Removes files with nothing alive, and copies what lives of those that are less than half alive or small.
pub fn rewrite(run: &mut Run<'_>) -> Result<(), Error> {
    let archive = look(run);
    let alive = weigh_files(run, &archive);
    remove_dead(run, &archive, &alive)?;
    let mut sources = BTreeSet::new();
    for file in &archive.files {
        if let Some(alive) = alive.get(&file.file)
            && is_sparse(run, &archive, file, *alive)?
        {
            sources.insert(file.file);
        }
    }
    let kept = archive.files.iter().filter(|file| alive.contains_key(&file.file));
    let kept: Vec<&ArchiveFile> = kept.filter(|file| !sources.contains(&file.file)).collect();
    sources.extend(small_files(&kept, run.store.segment_bytes()));
    let sources = archive.files.iter().filter(|file| sources.contains(&file.file));
    for group in groups(sources, &alive, run.store.segment_bytes()) {
        if rewrite_group(run, &group)?.is_break() {
            break;
        }
    }
    run.weights
        .retain(|shard, index| archive.shards.get(&shard).is_some_and(|found| found.bodies().contains_key(&index)));
    Ok(())
}

/// The files of the manifest whose bodies can be found, and the positions that belong to them.
fn look(run: &Run<'_>) -> Archive {
    let changes = run.store.changes();
    let manifest = run.store.manifest();
    let files = manifest.archive.iter().filter(|file| !changes.is_adding(file.file)).copied().collect();
    Archive { files, shards: run.store.positions().all().into_iter().collect() }
}

/// What is known without reading of what lives. Files with nothing alive are left out.
fn weigh_files(run: &Run<'_>, archive: &Archive) -> BTreeMap<FileId, Alive> {
    let mut files: BTreeMap<FileId, Alive> = BTreeMap::new();
    for (shard, positions) in &archive.shards {
        for (index, position) in positions.bodies() {
            let (lower, upper) = run.bounds(*shard, *index, *position);
            let alive = files.entry(position.file).or_default();
            alive.lower += lower;
            alive.upper += upper;
        }
    }
    files
}

fn remove_dead(run: &mut Run<'_>, archive: &Archive, alive: &BTreeMap<FileId, Alive>) -> Result<(), Error> {
    let files = archive.files.iter();
    let dead: Vec<ArchiveFile> = files.filter(|file| !alive.contains_key(&file.file)).copied().collect();
    dead.chunks(DEAD_FILES_MAX).try_for_each(|dead| replace(run, dead, None, &[]))
}

/// True when less than half of a file lives, its index included. The records are read when that cannot be told without.
fn is_sparse(run: &mut Run<'_>, archive: &Archive, file: &ArchiveFile, alive: Alive) -> Result<bool, Error> {
    let bytes = (file.bytes + file.index_bytes).saturating_sub(FIXED_BYTES);
    if 2 * alive.lower >= bytes {
        return Ok(false);
    }
    if 2 * alive.upper < bytes {
        return Ok(true);
    }
    let mut living = 0;
    for listed in living_in(run, &archive.shards, file)? {
        living += run.weigh(listed)?;
    }
    Ok(2 * living < bytes)
}

/// Bodies that lie in a file, in the order in which they lie there.
fn living_in(
    run: &Run<'_>,
    shards: &BTreeMap<ShardId, ShardPositions>,
    file: &ArchiveFile,
) -> Result<Vec<Listed>, Error> {
    let mut bodies = index::read(&**run.store.disk(), file.file)?;
    bodies.retain(|(shard, index, position)| is_there(shards, *shard, *index, *position));
    bodies.sort_unstable_by_key(|(_, _, position)| position.offset);
    Ok(bodies)
}

/// Files that are smaller than half a segment, where there are enough of one size.
fn small_files(files: &[&ArchiveFile], segment_bytes: u64) -> Vec<FileId> {
    let mut sizes: BTreeMap<u32, Vec<FileId>> = BTreeMap::new();
    for file in files.iter().filter(|file| file.bytes < segment_bytes / 2) {
        let size = (file.bytes * SMALLEST_PART / segment_bytes.max(1)).max(1).ilog(SIZE_FACTOR);
        sizes.entry(size).or_default().push(file.file);
    }
    sizes.into_values().filter(|files| files.len() >= SMALL_FILES_MAX).flatten().collect()
}

/// Files whose living bodies go into one, as far as they fit.
fn groups<'a>(
    sources: impl Iterator<Item = &'a ArchiveFile>,
    alive: &BTreeMap<FileId, Alive>,
    segment_bytes: u64,
) -> Vec<Vec<ArchiveFile>> {
    let mut groups: Vec<Vec<ArchiveFile>> = Vec::new();
    let mut bytes = 0;
    for source in sources {
        let size = alive.get(&source.file).map_or(0, |alive| alive.upper);
        bytes += size;
        match groups.last_mut().filter(|_| bytes <= segment_bytes) {
            Some(group) => group.push(*source),
            None => {
                bytes = size;
                groups.push(vec![*source]);
            }
        }
    }
    groups
}

/// Copies what lives in these files into one. Broken off, it has changed nothing.
fn rewrite_group(run: &mut Run<'_>, sources: &[ArchiveFile]) -> Result<ControlFlow<()>, Error> {
    let shards = look(run).shards;
    let mut out = BodiesWriter::create_for(run.store, Purpose::Compaction)?;
    let mut moved = Vec::new();
    for source in sources {
        for (shard, index, from) in living_in(run, &shards, source)? {
            let to = copy(run, &mut out, shard, index, from)?;
            run.remember(shard, index, u64::from(to.length));
            run.done.bytes_copied += u64::from(to.length);
            moved.push((shard, index, from, to));
            if (run.pace)(u64::from(to.length)).is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
    }
    let finished = out.finish()?;
    replace(run, sources, Some(finished), &moved)?;
    Ok(ControlFlow::Continue(()))
}

fn copy(
    run: &Run<'_>,
    out: &mut BodiesWriter,
    shard: ShardId,
    index: Index,
    from: Position,
) -> Result<Position, Error> {
    let body = run.read(shard, index, from)?;
    let payload = run.trim(shard, &body);
    let kind = if body.kind == codec::COMMAND { codec::BODIES } else { body.kind };
    let record = Record { shard, id: body.id, kind, payload: &payload };
    out.add(shard, index, |bytes| record.encode(bytes))
}

/// Puts a file in the place of others: in the manifest, then for readers; then the others go.
fn replace(
    run: &mut Run<'_>,
    sources: &[ArchiveFile],
    target: Option<FinishedBodies>,
    moved: &[Moved],
) -> Result<(), Error> {
    run.store.replace_archive(sources, target, |_| ())?;
    // Nobody waits for this: only a compaction looks for files that no body is in, and whoever pins a body where it was keeps
    // that file, which goes after it.
    for step in moved.chunks(STEP_ENTRIES_MAX) {
        let mut positions = run.store.positions().write_patiently();
        for (shard, index, from, to) in step {
            positions.get_mut(*shard).move_body(*index, *from, *to);
        }
    }
    run.done.files_removed += sources.len() as u64;
    let stale =
        sources.iter().map(|source| Stale { name: source.file.name(), bytes: source.bytes, file: Some(source.file) });
    run.store.retire(stale.collect());
    Ok(())
}
