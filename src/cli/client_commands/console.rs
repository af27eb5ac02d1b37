//! Where the output of a command goes, and in which form.

use std::io::{self, Write};

use serde_json::Value;

use super::Output;
use super::table::Table;

/// Standard output, or what stands for it in a test.
pub(in crate::cli) struct Console {
    out: Box<dyn Write + Send>,
    output: Output,
    /// Whether a person looks at the output, so that control characters in it could do harm.
    terminal: bool,
}

impl Console {
    pub(in crate::cli) fn new(out: impl Write + Send + 'static, output: Output, terminal: bool) -> Self {
        Self { out: Box::new(out), output, terminal }
    }

    pub(in crate::cli) fn is_json(&self) -> bool {
        self.output == Output::Json
    }

    pub(super) fn is_terminal(&self) -> bool {
        self.terminal
    }

    /// Whether text can be drawn over what was drawn before.
    pub(super) fn is_screen(&self) -> bool {
        self.terminal && !self.is_json()
    }

    /// Draws `text`, which is several lines, from the top of the screen. Every line is written before the rest of the old one
    /// is cleared, and all of it at once, so that nothing flickers.
    pub(super) fn draw(&mut self, text: &str) -> io::Result<()> {
        const TOP: &str = "\x1b[H";
        const CLEAR_LINE: &str = "\x1b[K";
        const CLEAR_BELOW: &str = "\x1b[J";
        let lines: String = text.lines().map(|line| format!("{line}{CLEAR_LINE}\n")).collect();
        self.out.write_all(format!("{TOP}{lines}{CLEAR_BELOW}").as_bytes())?;
        self.out.flush()
    }

    /// Prints one JSON document in one line.
    pub(in crate::cli) fn json(&mut self, document: &Value) -> io::Result<()> {
        writeln!(self.out, "{document}")?;
        self.out.flush()
    }

    /// Prints the rows that a table has gathered.
    pub(in crate::cli) fn table(&mut self, table: &mut Table) -> io::Result<()> {
        self.out.write_all(table.take_text().as_bytes())?;
        self.out.flush()
    }

    /// Prints bytes as they are, and ends the line.
    pub(in crate::cli) fn line(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.out.write_all(bytes)?;
        self.out.write_all(b"\n")?;
        self.out.flush()
    }
}
