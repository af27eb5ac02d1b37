//! The one terminal that all nodes share.

use std::io::{self, IsTerminal};
use std::time::Duration;

use anstyle::{AnsiColor, Color, Style};
use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::{config, telemetry};

/// Lines that may wait to be printed. When that many do, nobody reads from the nodes, whose logs then drop lines.
const LINES_MAX: usize = 1024;

/// The colours of the nodes' names, in the order of the alphabet.
const COLORS: [AnsiColor; 6] =
    [AnsiColor::Cyan, AnsiColor::Yellow, AnsiColor::Magenta, AnsiColor::Green, AnsiColor::Blue, AnsiColor::BrightRed];

/// Prints lines until nobody sends any more.
pub(in crate::cli) struct Output {
    lines: Lines,
    printer: JoinHandle<io::Result<()>>,
}

/// Where lines can be sent.
#[derive(Clone)]
pub(in crate::cli) struct Lines {
    sender: mpsc::Sender<String>,
    is_coloured: bool,
}

impl Output {
    pub(in crate::cli) fn start() -> Self {
        let (sender, receiver) = mpsc::channel(LINES_MAX);
        let is_coloured = telemetry::wants_color(config::Color::Auto, io::stdout().is_terminal());
        Self { lines: Lines { sender, is_coloured }, printer: tokio::spawn(print(receiver)) }
    }

    pub(in crate::cli) fn lines(&self) -> Lines {
        self.lines.clone()
    }

    /// Waits until nothing can be printed any more, because whoever read it has gone.
    pub(in crate::cli) async fn closed(&self) {
        self.lines.sender.closed().await;
    }

    /// Prints what waits, if somebody reads it.
    pub(in crate::cli) async fn finish(self) {
        const PATIENCE: Duration = Duration::from_secs(1);
        drop(self.lines);
        // Nobody is left to tell when printing fails or takes too long.
        let _ = tokio::time::timeout(PATIENCE, self.printer).await;
    }
}

impl Lines {
    /// Waits for room. A line that cannot be printed any more is lost.
    pub(in crate::cli) async fn send(&self, line: String) {
        let _ = self.sender.send(line).await;
    }

    /// Lines without colours, and where they come out.
    #[cfg(test)]
    pub(in crate::cli) fn for_test() -> (Self, mpsc::Receiver<String>) {
        let (sender, receiver) = mpsc::channel(LINES_MAX);
        (Self { sender, is_coloured: false }, receiver)
    }

    pub(in crate::cli) fn is_coloured(&self) -> bool {
        self.is_coloured
    }

    /// The text in this style, where there are colours.
    pub(in crate::cli) fn styled(&self, style: Style, text: &str) -> String {
        if self.is_coloured { format!("{style}{text}{style:#}") } else { text.to_owned() }
    }

    /// What stands before the lines of a node.
    pub(in crate::cli) fn prefix(&self, name: &str) -> String {
        let letter = usize::from(name.as_bytes()[0] - b'a');
        let style = Style::new().bold().fg_color(Some(Color::Ansi(COLORS[letter % COLORS.len()])));
        self.styled(style, &format!("{name} |")) + " "
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
