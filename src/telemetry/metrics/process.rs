//! What this process takes of its machine.

use std::sync::OnceLock;
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
    /// When it started, since 1970, to a second or two. Always the same while it runs.
    pub started: Duration,
}

/// When the process started, as it was first reckoned: the difference of two clocks, one of which is set now and then.
static STARTED: OnceLock<Duration> = OnceLock::new();

impl Process {
    /// Memory that the process holds, in bytes; none where the system does not tell. Reads one file, however much the process has
    /// open.
    pub fn resident_bytes_now() -> Option<u64> {
        let pages = procfs::process::Process::myself().ok()?.statm().ok()?.resident;
        Some(pages * rustix::param::page_size() as u64)
    }

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
            started: started(now, uptime),
        })
    }
}

fn started(now: Duration, uptime: Duration) -> Duration {
    *STARTED.get_or_init(|| Duration::from_secs(now.saturating_sub(uptime).as_secs()))
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
        assert!(Process::resident_bytes_now().expect("Linux tells") > 1 << 20);
    }

    /// What changes is taken for a restart.
    #[test]
    fn the_start_stands_still_when_the_clock_is_set() {
        let process = Process::look().expect("Linux tells");
        assert_eq!(started(process.started + Duration::from_secs(90), Duration::from_secs(1)), process.started);
    }
}
