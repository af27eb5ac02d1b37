//! The standard gRPC health service: a status for each name. The empty name and those of the services that clients call tell
//! whether the node is ready, as `ready` does; `live` tells whether it is live.

use tokio::sync::watch::Receiver;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

use super::Verdict;

/// What a name tells.
type Holds = fn(&Verdict) -> bool;

/// The names, and what each tells.
const SERVICES: [(&str, Holds); 5] = [
    ("", Verdict::is_ready),
    ("ready", Verdict::is_ready),
    ("live", Verdict::is_live),
    ("quorate.v1.Quorate", Verdict::is_ready),
    ("quorate.v1.Cluster", Verdict::is_ready),
];

/// Tells the health service how the node is.
pub async fn tell(reporter: &HealthReporter, verdict: &Verdict) {
    for (service, holds) in SERVICES {
        let status = if holds(verdict) { ServingStatus::Serving } else { ServingStatus::NotServing };
        reporter.set_service_status(service, status).await;
    }
}

/// Forgets all services, which ends the streams of those who watch.
pub async fn clear(reporter: &mut HealthReporter) {
    for (service, _) in SERVICES {
        reporter.clear_service_status(service).await;
    }
}

/// Tells the health service of every change, until the node is gone.
pub async fn follow(mut verdicts: Receiver<Verdict>, reporter: HealthReporter) {
    loop {
        let verdict = verdicts.borrow_and_update().clone();
        tell(&reporter, &verdict).await;
        if verdicts.changed().await.is_err() {
            return;
        }
    }
}
