//! What can be wrong with settings, and how it is said: one line each, which names the place and the remedy.

use std::fmt;
use std::io;
use std::path::PathBuf;

use super::{API_VERSION, KIND};

/// Everything that is wrong with the settings: at least one problem.
#[derive(Debug)]
pub struct Error {
    /// In the order of the sources.
    pub problems: Vec<Problem>,
}

/// One thing that is wrong. Its `Display` is one line.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// A file cannot be read.
    #[error("{}: {cause}", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// What the system says.
        #[source]
        cause: io::Error,
    },
    /// A file is not one YAML document of keys and values.
    #[error("{}: not a YAML document of keys and values: {why}", file.display())]
    Malformed {
        /// The file.
        file: PathBuf,
        /// What the parser says.
        why: String,
    },
    /// A file does not say what it is, or is something else.
    #[error("{}: expected `{key}: {expected}`, found {found}", file.display())]
    Header {
        /// The file.
        file: PathBuf,
        /// `apiVersion` or `kind`.
        key: &'static str,
        /// What it must be.
        expected: &'static str,
        /// What it is.
        found: String,
    },
    /// There is no such setting.
    #[error("{place}: there is no such setting{}", suggestion(nearest.as_deref()))]
    UnknownKey {
        /// Where it stands.
        place: String,
        /// What it probably should be, written as in that place.
        nearest: Option<String>,
    },
    /// A value of the wrong kind.
    #[error("{place}: expected {expected}, found {found}")]
    Value {
        /// Where it stands.
        place: String,
        /// What is expected there.
        expected: String,
        /// What was found.
        found: String,
    },
    /// A value that is not allowed, or does not fit with another.
    #[error("{place}: {why}")]
    Rule {
        /// Where it stands.
        place: String,
        /// Which rule it breaks.
        why: String,
    },
}

/// Where a setting was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nowhere: it is the default.
    Default,
    /// In a file.
    File {
        /// The file, as it was named.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
    },
    /// In this standard variable of OpenTelemetry.
    OpenTelemetry(&'static str),
    /// In a variable of the environment.
    Environment,
    /// With this flag.
    Flag(&'static str),
}

/// What the names of variables begin with.
pub(super) const VARIABLE_PREFIX: &str = "QUORATE__";

impl Origin {
    /// How a person finds the setting `key` there.
    pub fn place(&self, key: &str) -> String {
        match self {
            Origin::Default => key.to_owned(),
            Origin::File { path, line } => format!("{}:{line}: {key}", path.display()),
            Origin::OpenTelemetry(_) | Origin::Environment | Origin::Flag(_) => self.spelling(key),
        }
    }

    /// How the setting `key` is written there.
    pub(super) fn spelling(&self, key: &str) -> String {
        match self {
            Origin::OpenTelemetry(variable) => (*variable).to_owned(),
            Origin::Environment => format!("{VARIABLE_PREFIX}{}", key.replace('.', "__").to_uppercase()),
            Origin::Flag(flag) => format!("--{flag}"),
            Origin::Default | Origin::File { .. } => key.to_owned(),
        }
    }
}

impl Problem {
    /// A file whose `key` is not what it must be.
    pub(super) fn header(file: PathBuf, key: &'static str, found: String) -> Self {
        let expected = if key == "kind" { KIND } else { API_VERSION };
        Problem::Header { file, key, expected, found }
    }
}

fn suggestion(nearest: Option<&str>) -> String {
    nearest.map(|key| format!("; did you mean {key}?")).unwrap_or_default()
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, problem) in self.problems.iter().enumerate() {
            let separator = if number == 0 { "" } else { "\n" };
            write!(f, "{separator}{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}
