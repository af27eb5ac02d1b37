//! `quorate bench fsync`: how fast this disk makes a record durable, as a yardstick for `enqueue`.
//!
//! One record after the other is written and synced as the log does it: with the same calls, into blocks that were filled with
//! zeros and synced before.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use clap::Args;
use serde_json::json;
use tokio::task::JoinSet;

use super::options::{Timing, message_size, usage};
use super::period::Period;
use super::report::Report;
use super::run::Run;
use super::tally::Recorder;
use crate::cli::client_commands::Output;
use crate::cli::{Exit, Failure};
use crate::config::{NodeConfig, Sources};
use crate::storage::{self, File as _};

/// What is written, and where.
#[derive(Args, Clone, Debug)]
pub struct Arguments {
    /// The size of a record, such as 256 or 4KiB; 1 MiB at most
    #[arg(long, value_name = "BYTES", default_value = "256", value_parser = message_size)]
    size: usize,
    /// Where to write; nothing is left there [default: the data directory of the settings if it exists, otherwise that of
    /// temporary files]
    #[arg(long, value_name = "DIR")]
    directory: Option<PathBuf>,
    /// For how long.
    #[command(flatten)]
    timing: Timing,
    /// What to print on standard output
    #[arg(long, value_name = "FORM", value_enum, default_value_t = Output::Table)]
    pub(super) output: Output,
}

/// Measures.
pub(super) async fn run(arguments: &Arguments) -> Result<Report, Failure> {
    let Arguments { size, ref timing, .. } = *arguments;
    timing.check().map_err(usage)?;
    if size == 0 {
        return Err(Failure::new(Exit::Usage, "--size 0 writes nothing"));
    }
    let directory = directory(arguments.directory.clone())?;
    let disk = disk(&directory);
    let records = Records::create(&directory, size).map_err(|error| {
        let what = format!("cannot write to {}: {error}", directory.display());
        Failure::new(Exit::Failed, io::Error::new(error.kind(), what))
    })?;
    let period = Period::new(timing.warmup, timing.duration);
    let recorder = Arc::new(Recorder::new("fsync", period.clone()));
    let mut run = Run { period, recorders: vec![Arc::clone(&recorder)], workers: JoinSet::new(), arrivals: None };
    let period = run.period.clone();
    run.workers.spawn_blocking(move || Ok(records.write_until_over(&period, &recorder)?));
    Ok(Report {
        benchmark: "fsync",
        options: json!({
            "size_bytes": size,
            "directory": directory.display().to_string(),
            "disk": disk,
            "warmup_seconds": timing.warmup.as_secs_f64(),
            "duration_seconds": timing.duration.as_secs_f64(),
        }),
        setting: format!("write and fdatasync of {size} bytes in {} on {disk}", directory.display()),
        size,
        measured: run.finish(timing.report_interval).await?,
    })
}

/// A file without a name, which is gone when the process is, however that ends.
struct Records {
    file: File,
    record: Vec<u8>,
    capacity: u64,
}

impl Records {
    fn create(directory: &Path, size: usize) -> io::Result<Self> {
        let file = tempfile::tempfile_in(directory)?;
        let capacity = storage::Options::default().fill_bytes.max(size as u64);
        file.write_at(0, &vec![0; capacity as usize])?;
        file.sync()?;
        Ok(Self { file, record: vec![b'x'; size], capacity })
    }

    fn write_until_over(&self, period: &Period, recorder: &Recorder) -> io::Result<()> {
        let mut offset = 0;
        while !period.is_over() {
            let begun = Instant::now();
            self.file.write_at(offset, &self.record)?;
            self.file.sync()?;
            recorder.answered(begun, 1);
            offset += self.record.len() as u64;
            if offset + self.record.len() as u64 > self.capacity {
                offset = 0;
            }
        }
        Ok(())
    }
}

fn directory(asked: Option<PathBuf>) -> Result<PathBuf, Failure> {
    if let Some(directory) = asked {
        return Ok(directory);
    }
    let settings = NodeConfig::load(&Sources::with_environment(Vec::new(), Vec::new()))
        .map_err(|error| Failure::new(Exit::Usage, error))?;
    let data = settings.node.data_dir;
    Ok(if data.is_dir() { data } else { std::env::temp_dir() })
}

/// The file system and the device of a directory, as `ext4 /dev/vda`.
fn disk(directory: &Path) -> String {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let directory = fs::canonicalize(directory).unwrap_or_default();
    mount_of(&mounts, &directory).unwrap_or_else(|| "an unknown disk".to_owned())
}

/// The innermost mount that holds the directory; of several at one place the last one, which hides the others.
fn mount_of(mounts: &str, directory: &Path) -> Option<String> {
    let mount = |line: &str| {
        let (place, device) = line.split_once(" - ")?;
        let at = place.split(' ').nth(4)?;
        let mut device = device.split(' ');
        let words = format!("{} {}", device.next()?, device.next()?);
        directory.starts_with(at).then_some((at.len(), words))
    };
    mounts.lines().filter_map(mount).max_by_key(|(length, _)| *length).map(|(_, words)| words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_innermost_mount_is_found() {
        let mounts = "22 1 254:0 / / rw,relatime - ext4 /dev/vda rw\n\
                      30 22 0:28 / /tmp rw - tmpfs tmpfs rw,size=1k\n\
                      31 22 0:29 / /tmpfoo rw shared:1 - xfs /dev/vdb rw\n\
                      32 30 0:30 / /tmp rw - btrfs /dev/vdc rw\n";
        let found = |directory: &str| mount_of(mounts, Path::new(directory));
        assert_eq!(found("/var/lib").as_deref(), Some("ext4 /dev/vda"));
        assert_eq!(found("/tmp/x").as_deref(), Some("btrfs /dev/vdc"));
        assert_eq!(found("/tmpfoo").as_deref(), Some("xfs /dev/vdb"));
        assert_eq!(mount_of("", Path::new("/")), None);
    }

    #[test]
    fn records_stay_within_what_was_filled() {
        let directory = tempfile::tempdir().unwrap();
        let records = Records { capacity: 10_000, ..Records::create(directory.path(), 3_000).unwrap() };
        let period = Period::new(std::time::Duration::ZERO, std::time::Duration::from_secs(3600));
        let recorder = Recorder::new("fsync", period.clone());
        std::thread::scope(|scope| {
            scope.spawn(|| records.write_until_over(&period, &recorder).unwrap());
            while recorder.tally().requests() < 5 {
                std::thread::yield_now();
            }
            period.cut(super::super::period::Ended::Interrupted);
        });
        let mut written = vec![0; 10_000];
        records.file.read_at(0, &mut written).unwrap();
        assert!(written[..9_000].iter().all(|byte| *byte == b'x') && written[9_000..].iter().all(|byte| *byte == 0));
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0, "the file has no name");
    }
}
