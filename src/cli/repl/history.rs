//! Where the lines of the REPL are kept.

use std::ffi::OsString;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// Names another file; empty: none.
const VARIABLE: &str = "QUORATE_HISTORY";

/// The file, in a directory that is there. None: nothing is kept, because nobody has a home or wants it.
///
/// # Errors
/// There can be no such file.
pub(super) fn file() -> io::Result<Option<PathBuf>> {
    let Some(path) = path(|name| std::env::var_os(name)) else { return Ok(None) };
    // What is written gets the permissions of a private file, and a device is everybody's.
    if path.exists() && !path.is_file() {
        return Ok(None);
    }
    let directory = path.parent().filter(|directory| !directory.as_os_str().is_empty());
    if let Some(directory) = directory {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    }
    Ok(Some(path))
}

/// As the XDG Base Directory Specification has it for state, unless the variable says otherwise.
fn path(variable: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    if let Some(named) = variable(VARIABLE) {
        return (!named.is_empty()).then(|| PathBuf::from(named));
    }
    // A relative path there is to be ignored.
    let absolute = |name: &str| variable(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let state = absolute("XDG_STATE_HOME").or_else(|| Some(absolute("HOME")?.join(".local/state")));
    state.map(|state| state.join(Path::new("quorate/history")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_where_state_belongs() {
        let path_with = |variables: &[(&str, &str)]| {
            let found = path(|name| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into()));
            found.map(|path| path.display().to_string())
        };
        let home = ("HOME", "/home/a");
        assert_eq!(path_with(&[home]).as_deref(), Some("/home/a/.local/state/quorate/history"));
        assert_eq!(path_with(&[home, ("XDG_STATE_HOME", "/s")]).as_deref(), Some("/s/quorate/history"));
        assert_eq!(
            path_with(&[home, ("XDG_STATE_HOME", "s")]).as_deref(),
            Some("/home/a/.local/state/quorate/history")
        );
        assert_eq!(path_with(&[home, (VARIABLE, "h")]).as_deref(), Some("h"));
        assert_eq!(path_with(&[home, (VARIABLE, "")]), None);
        assert_eq!(path_with(&[]), None);
    }
}
