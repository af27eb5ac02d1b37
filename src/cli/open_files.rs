//! How many files and connections the system lets this process have open.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::api::forward;
use crate::config::NodeConfig;
use crate::transport;

/// Connections of this node to its peers, its own files, and what the runtime needs.
const RESERVE: u64 = 128;

/// Raises the limit as far as the system allows without being asked. The usual one, 1024, is less than what a node may need.
/// A node that still has too few serves as well as it can, and says so.
pub fn raise(config: &NodeConfig) {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    let limit = if raised.is_ok() { maximum } else { current };
    tell(limit, needed(config));
}

fn tell(limit: Option<u64>, needed: u64) {
    match limit {
        Some(limit) if limit < needed => tracing::warn!(
            "may have {limit} files and connections open, and its settings can need {needed}: raise the limit (ulimit -n), \
             or lower limits.connections_max"
        ),
        Some(limit) => tracing::info!("may have {limit} files and connections open"),
        None => tracing::info!("may have any number of files and connections open"),
    }
}

/// What the settings allow to be open at one time.
fn needed(config: &NodeConfig) -> u64 {
    let others = [transport::Limits::for_peers(), transport::Limits::for_health()].map(|limits| limits.connections_max);
    (config.limits.connections_max + others.iter().sum::<usize>() + forward::CALLS_MAX) as u64 + RESERVE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_raised_as_far_as_it_goes() {
        raise(&NodeConfig::default());
        let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
        assert_eq!(current, maximum);
    }
}
