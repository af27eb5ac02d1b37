//! What this process takes of its machine.

use std::time::{Duration, SystemTime};

use procfs::{Current as _, ProcResult};

/// What the system tells of this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Process {
    /// Processor time that was spent in its own code.
    pub user: Duration,
    /// Processor time that the system spent for it.
    pub system: Duration,
    /// Memory that it holds, in bytes.
    pub resident_bytes: u64,
    /// Files and connections that it has open.
    pub open_files: u64,
    /// Its threads.
    pub threads: u64,
    /// How long it has run.
    pub uptime: Duration,
    /// When it started, since 1970, to a second or two.
    pub started: Duration,
}

impl Process {
    /// Looks now; none where the system does not tell.
    pub fn look() -> Option<Self> {
        Self::read().ok()
    }

    fn read() -> ProcResult<Self> {
        let process = procfs::process::Process::myself()?;
        let stat = process.stat()?;
        let ticks = rustix::param::clock_ticks_per_second();
        let since_boot = procfs::Uptime::current()?.uptime_duration();
        let uptime = since_boot.saturating_sub(duration(stat.starttime, ticks));
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Ok(Self {
            user: duration(stat.utime, ticks),
            system: duration(stat.stime, ticks),
            resident_bytes: stat.rss * rustix::param::page_size() as u64,
            open_files: process.fd_count()? as u64,
            threads: u64::try_from(stat.num_threads).unwrap_or(0),
            uptime,
            // Whole seconds, so that it stands still.
            started: Duration::from_secs(now.saturating_sub(uptime).as_secs()),
        })
    }
}

fn duration(ticks: u64, per_second: u64) -> Duration {
    Duration::from_millis(ticks.saturating_mul(1000) / per_second.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_runs() {
        let process = Process::look().expect("Linux tells");
        assert!(process.resident_bytes > 1 << 20, "{process:?}");
        assert!(process.open_files >= 3 && process.threads >= 1, "{process:?}");
        assert!(process.uptime < Duration::from_secs(24 * 60 * 60), "{process:?}");
    }
}
