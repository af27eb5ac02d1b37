//! What a command prints that is done once it has printed.

use std::io::{self, ErrorKind, Write};

use super::{Exit, Failure};

/// Prints `text` as it is. Who reads only the beginning of it, such as `head`, has all that it wants.
///
/// # Errors
/// Standard output does not take it.
pub(super) fn print(text: &str) -> Result<Exit, Failure> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Failure::new(Exit::Failed, format!("cannot write to standard output: {error}")))
        }
        _ => Ok(Exit::Done),
    }
}
