//! The standard health service on the client port: the same verdict as on the health port, until the node stops.

use std::time::Duration;

use tokio::sync::watch::Receiver;
use tonic_health::server::HealthReporter;

use super::Context;
use crate::health::{Verdict, grpc};

/// Those who watch a node that stops have this long to hear of it before their streams end.
const FAREWELL: Duration = Duration::from_millis(100);

/// Tells the health service how the node is, until it stops.
pub(super) async fn report(context: Context, verdicts: Receiver<Verdict>, mut reporter: HealthReporter) {
    let over = async {
        context.drained().await;
        tokio::time::sleep(FAREWELL).await;
    };
    tokio::select! {
        () = grpc::follow(verdicts, reporter.clone()) => {}
        () = over => {}
    }
    // The server waits for the streams of those who watch.
    grpc::clear(&mut reporter).await;
}
