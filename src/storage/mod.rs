//! storage
pub mod codec;

/// STAND-IN: the version of the storage branch replaces this file.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not what it should be.
    #[error("malformed: {0}")]
    Malformed(&'static str),
}
