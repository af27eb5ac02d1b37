//! The one terminal that all nodes share.

use std::io::{self, IsTerminal};
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::config::Color;
use crate::telemetry;

/// Lines that may wait to be printed. When that many do, nobody reads from the nodes, whose logs then drop lines.
const LINES_MAX: usize = 1024;

/// Prints lines until nobody sends any more.
pub(super) struct Output {
    lines: Lines,
    printer: JoinHandle<io::Result<()>>,
}

/// Where lines can be sent.
#[derive(Clone)]
pub(super) struct Lines {
    sender: mpsc::Sender<String>,
    is_coloured: bool,
}

impl Output {
    pub(super) fn start() -> Self {
        let (sender, receiver) = mpsc::channel(LINES_MAX);
        let is_coloured = telemetry::wants_color(Color::Auto, io::stdout().is_terminal());
        Self { lines: Lines { sender, is_coloured }, printer: tokio::spawn(print(receiver)) }
    }

    pub(super) fn lines(&self) -> Lines {
        self.lines.clone()
    }

    /// Waits until nothing can be printed any more, because whoever read it has gone.
    pub(super) async fn closed(&self) {
        self.lines.sender.closed().await;
    }

    /// Prints what waits, if somebody reads it.
    pub(super) async fn finish(self) {
        const PATIENCE: Duration = Duration::from_secs(1);
        drop(self.lines);
        // Nobody is left to tell when printing fails or takes too long.
        let _ = tokio::time::timeout(PATIENCE, self.printer).await;
    }
}

impl Lines {
    /// Waits for room. A line that cannot be printed any more is lost.
    pub(super) async fn send(&self, line: String) {
        let _ = self.sender.send(line).await;
    }

    pub(super) fn is_coloured(&self) -> bool {
        self.is_coloured
    }
}

async fn print(mut lines: mpsc::Receiver<String>) -> io::Result<()> {
    let mut stdout = tokio::io::stdout();
    while let Some(line) = lines.recv().await {
        stdout.write_all(format!("{line}\n").as_bytes()).await?;
        if lines.is_empty() {
            stdout.flush().await?;
        }
    }
    stdout.flush().await
}
