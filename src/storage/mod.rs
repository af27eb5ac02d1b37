//! storage
pub mod codec;
