//! Sees to it that nothing outlives the impairment: a process without an impaired network would go on in a network of another
//! kind, or, as the relay is gone, in none.
//!
//! ```text
//!   impair  ---- a pipe ---->  guard, in a process group of its own, so that Ctrl-C does not reach it
//! ```
//!
//! When the pipe ends, however `impair` has ended, the guard kills all that is left in the namespace. When the guard ends, `impair`
//! does the same. What is in the namespace is told by `/proc`; so it does not matter who has started it, and how.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::AsyncReadExt;
use tokio::process::{Child, ChildStdin, Command};
use tokio::time::{Instant, sleep};

use crate::cli::Exit;

/// How long the killed may take to be gone.
const PATIENCE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(10);

/// The other process.
pub struct Guard {
    process: Child,
    /// As long as this is open, it stands and waits. Not in the process, where waiting would close it.
    _pipe: Option<ChildStdin>,
}

impl Guard {
    /// Starts it, with these arguments of this program.
    ///
    /// # Errors
    /// It could not be started.
    pub fn start(arguments: [&str; 2]) -> io::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(arguments).process_group(0);
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        Ok(Self { _pipe: process.stdin.take(), process })
    }

    /// Waits until it ends, which it does not by itself.
    pub async fn ended(&mut self) {
        // It has ended also when there is nothing to wait for.
        let _ = self.process.wait().await;
    }

    /// Kills all that is left in the namespace but this process, the guard last.
    ///
    /// # Errors
    /// Something is left.
    pub async fn finish(mut self) -> io::Result<()> {
        let swept = sweep(self.process.id()).await;
        self.process.kill().await?;
        swept
    }
}

/// What the guard does.
pub async fn stand() -> io::Result<Exit> {
    // The end of the pipe tells it, and so does a failure to read it.
    let _ = tokio::io::stdin().read_to_end(&mut Vec::new()).await;
    sweep(None).await?;
    Ok(Exit::Done)
}

/// Kills all that is in the network namespace of this process, but this process and another one.
async fn sweep(spared: Option<u32>) -> io::Result<()> {
    let spared = [Some(std::process::id()), spared];
    let deadline = Instant::now() + PATIENCE;
    // One that is just being forked is seen the next time.
    loop {
        let mut left = inmates()?;
        left.retain(|process| !spared.contains(&Some(*process)));
        if left.is_empty() {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(io::Error::other(format!("these processes cannot be killed: {left:?}")));
        }
        for process in left.iter().filter_map(|process| Pid::from_raw(process.cast_signed())) {
            // It may have ended in the meantime.
            let _ = kill_process(process, Signal::KILL);
        }
        sleep(PAUSE).await;
    }
}

/// The processes in the network namespace of this one. One that has ended, and nobody has waited for, is in none.
fn inmates() -> io::Result<Vec<u32>> {
    let own = fs::read_link("/proc/self/ns/net")?;
    let number = |path: &PathBuf| path.file_name()?.to_str()?.parse::<u32>().ok();
    let paths = fs::read_dir("/proc")?.filter_map(|entry| entry.ok().map(|entry| entry.path()));
    let is_in = |path: &PathBuf| fs::read_link(path.join("ns/net")).is_ok_and(|namespace| namespace == own);
    Ok(paths.filter(is_in).filter_map(|path| number(&path)).collect())
}
