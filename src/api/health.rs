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

/// Those who watch a node that stops have this long to hear of it before their streams end.
const FAREWELL: Duration = Duration::from_millis(100);

/// Tells the health service how the node is, until it stops.
pub(super) async fn report(context: Context, mut reporter: HealthReporter) {
    let mut phase = context.phase.clone();
    let mut turns_before = None;
    while *phase.borrow_and_update() < Phase::Draining {
        let turns = context.handle.turns();
        let healthy = *phase.borrow() == Phase::Serving && turns_before != Some(turns);
        turns_before = Some(turns);
        set_all(&reporter, if healthy { ServingStatus::Serving } else { ServingStatus::NotServing }).await;
        tokio::select! {
            () = tokio::time::sleep(INTERVAL) => {}
            // A change of phase counts at once, and the turns are not judged over too short a time.
            changed = phase.changed() => match changed {
                Ok(()) => turns_before = None,
                Err(_) => return,
            },
        }
    }
    set_all(&reporter, ServingStatus::NotServing).await;
    tokio::time::sleep(FAREWELL).await;
    for service in SERVICES {
        // Ends the streams of those who watch: the server waits for them.
        reporter.clear_service_status(service).await;
    }
}

async fn set_all(reporter: &HealthReporter, status: ServingStatus) {
    for service in SERVICES {
        reporter.set_service_status(service, status).await;
    }
}
