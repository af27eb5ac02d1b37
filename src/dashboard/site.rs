//! What every request on the admin port needs to know.

use std::sync::{Arc, OnceLock};

use axum::http::StatusCode;

use super::failure::Failure;
use super::guard::Guard;
use super::lookout::Lookout;
use super::view::Settings;
use crate::config::{Address, NodeConfig};

/// The page of one node. Cheap to clone.
#[derive(Clone)]
pub(super) struct Site {
    shared: Arc<Shared>,
}

struct Shared {
    guard: Guard,
    settings: Settings,
    /// None while the node reads its log.
    lookout: OnceLock<Arc<Lookout>>,
}

impl Site {
    /// By the settings. People reach the port under `advertised`.
    pub(super) fn new(config: &NodeConfig, advertised: &Address) -> Self {
        let guard = Guard::new(config, advertised);
        let settings = Settings {
            show_content: config.admin.show_content,
            token_needed: guard.needs_token(),
            trace_url: config.admin.trace_url.clone(),
        };
        Self { shared: Arc::new(Shared { guard, settings, lookout: OnceLock::new() }) }
    }

    pub(super) fn guard(&self) -> &Guard {
        &self.shared.guard
    }

    pub(super) fn settings(&self) -> &Settings {
        &self.shared.settings
    }

    /// From here on there is something to look at.
    ///
    /// # Panics
    /// When that was said before.
    pub(super) fn open(&self, lookout: Arc<Lookout>) {
        assert!(self.shared.lookout.set(lookout).is_ok(), "a node has recovered once");
    }

    /// What looks at the cluster.
    ///
    /// # Errors
    /// The node reads its log, and knows nothing before it has.
    pub(super) fn lookout(&self) -> Result<&Arc<Lookout>, Failure> {
        let message = "the node reads what is on its disk; try again in a moment";
        self.shared.lookout.get().ok_or_else(|| Failure::new(StatusCode::SERVICE_UNAVAILABLE, "RECOVERING", message))
    }
}
