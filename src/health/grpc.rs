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

/// Forgets all services, which ends the streams of those who watch.
pub async fn clear(reporter: &mut HealthReporter) {
    for (service, _) in SERVICES {
        reporter.clear_service_status(service).await;
    }
}

/// Tells the health service of every change, until the node is gone.
pub async fn follow(mut verdicts: Receiver<Verdict>, reporter: HealthReporter) {
    let mut told = [None; SERVICES.len()];
    loop {
        let verdict = verdicts.borrow_and_update().clone();
        for ((service, holds), told) in SERVICES.into_iter().zip(&mut told) {
            let status = if holds(&verdict) { ServingStatus::Serving } else { ServingStatus::NotServing };
            // Whoever watches is woken by whatever is set, and the words of a verdict can change at every look.
            if told.replace(status) != Some(status) {
                reporter.set_service_status(service, status).await;
            }
        }
        if verdicts.changed().await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::{Pin, pin};
    use std::task::{Context, Poll, Waker};

    use futures_util::Stream as _;
    use tokio::sync::watch::Sender;
    use tonic::Request;
    use tonic_health::pb::HealthCheckRequest;
    use tonic_health::pb::health_check_response::ServingStatus as Told;
    use tonic_health::pb::health_server::Health as _;
    use tonic_health::server::HealthService;

    use super::*;
    use crate::health::Condition;

    fn verdict(missing: Option<&str>) -> Verdict {
        let ready = Condition { what: "has caught up", missing: missing.map(str::to_owned) };
        Verdict { live: Vec::new(), ready: vec![ready] }
    }

    /// While a node catches up, the words change at every look.
    #[tokio::test]
    async fn those_who_watch_hear_of_a_status_once_whatever_the_words() {
        let verdicts = Sender::new(verdict(Some("applied 1 of 9")));
        let reporter = HealthReporter::new();
        let service = HealthService::from_health_reporter(reporter.clone());
        let mut following = pin!(follow(verdicts.subscribe(), reporter));
        let mut wakeup = Context::from_waker(Waker::noop());
        let mut follow = || assert!(following.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        follow();

        let mut watching = Vec::new();
        for (name, _) in SERVICES {
            let request = HealthCheckRequest { service: name.to_owned() };
            watching.push((name, service.watch(Request::new(request)).await.unwrap().into_inner()));
        }
        let mut heard = || -> Vec<(&str, Told)> {
            let hear = watching.iter_mut().filter_map(|(name, stream)| match Pin::new(stream).poll_next(&mut wakeup) {
                Poll::Ready(answer) => Some((*name, answer.unwrap().unwrap().status())),
                Poll::Pending => None,
            });
            hear.collect()
        };
        assert_eq!(heard().len(), SERVICES.len(), "all hear how it is");
        for applied in 2..9 {
            verdicts.send_replace(verdict(Some(&format!("applied {applied} of 9"))));
            follow();
            assert_eq!(heard(), [], "nothing but words has changed");
        }
        verdicts.send_replace(verdict(None));
        follow();
        let ready = ["", "ready", "quorate.v1.Quorate", "quorate.v1.Cluster"].map(|name| (name, Told::Serving));
        assert_eq!(heard(), ready);
    }
}
