//! The standard health service: serving while the node's loop turns and the node does not stop. It needs no leader.

use std::time::Duration;

use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

use super::Context;
use crate::node::Phase;

/// How often the loop is looked at. It turns more often than that, also when nothing happens.
const INTERVAL: Duration = Duration::from_secs(1);

/// The whole node, and its services by name.
const SERVICES: [&str; 3] = ["", "quorate.v1.Quorate", "quorate.v1.Cluster"];

/// Tells the health service how the node is, for as long as it is served.
pub(super) async fn report(context: Context, reporter: HealthReporter) {
    let mut phase = context.phase.clone();
    let mut turns_before = None;
    loop {
        let turns = context.handle.turns();
        let healthy = *phase.borrow_and_update() == Phase::Serving && turns_before != Some(turns);
        turns_before = Some(turns);
        let status = if healthy { ServingStatus::Serving } else { ServingStatus::NotServing };
        for service in SERVICES {
            reporter.set_service_status(service, status).await;
        }
        tokio::select! {
            () = tokio::time::sleep(INTERVAL) => {}
            // A change of phase counts at once, and the turns are not judged over too short a time.
            changed = phase.changed() => match changed {
                Ok(()) => turns_before = None,
                Err(_) => return,
            },
        }
    }
}
