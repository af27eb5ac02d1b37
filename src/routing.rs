//! The words in which a client says where its call is to be executed: metadata of gRPC, and part of the interface.

/// The key of the metadata. Without it a node that does not lead refuses and names the leader.
pub const HEADER: &str = "quorate-routing";
/// The node that is asked passes the call on to the leader, if only the leader can serve it and another node leads.
pub const FORWARD: &str = "forward";
/// The call has been passed on once: whoever gets it serves it or refuses it.
pub const FORWARDED: &str = "forwarded";
