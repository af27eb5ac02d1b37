//! The proof of `quorate impair`: what arrives over its network is what netem's words say, within statistical bounds, and nothing
//! is left of it, however it ends.
//!
//! ```text
//!     cargo test --test impair -- --ignored --test-threads 1
//! ```
//!
//! Needs root, `ip`, `unshare`, and `nft` or `iptables`. The relay is asked for (`--seed`), also where the kernel has netem. A busy
//! machine makes packets late, but never early, and neither loses nor makes any: so times are bounded below, and above only by
//! their median.
//!
//! ```text
//!   bad_network   the command, and sockets in its namespace
//!   datagrams     numbered packets: which arrive, when, and how often
//!   stream        what TCP makes of it
//!   leftovers     Ctrl-C, kill -9, and what is left
//!   usage         what is said where there can be no bad network (most of it without root)
//! ```
//!
//! Not here: the model, which is pure and has tests beside it.

mod bad_network;
mod datagrams;
mod leftovers;
mod stream;
mod usage;
