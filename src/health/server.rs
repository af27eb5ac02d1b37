//! The health port: HTTP/1.1 and HTTP/2 without encryption, for `GET` and `HEAD` of two paths, and gRPC health beside them.

use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use axum::http::header::CACHE_CONTROL;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::sync::watch::Receiver;
use tonic::service::Routes;

use super::{Verdict, grpc};
use crate::transport::Listener;

/// A call of the gRPC service that has not arrived as a whole after this long is given up.
const CALL_DEADLINE: Duration = Duration::from_secs(5);

/// More than the name of any service.
const CALL_BYTES_MAX: usize = 4 << 10;

/// Serves until it is dropped.
pub(super) async fn serve(listener: Listener, verdicts: Receiver<Verdict>) {
    let (reporter, service) = tonic_health::server::health_reporter();
    let service = service.max_decoding_message_size(CALL_BYTES_MAX);
    let router = Routes::new(service).into_axum_router().merge(pages(&verdicts)).fallback(nothing);
    let mut server = listener.limits().server().accept_http1(true).timeout(CALL_DEADLINE);
    let serving = server.add_routes(Routes::from(router)).serve_with_incoming(listener.incoming());
    tokio::select! {
        served = serving => {
            // It ends only when it cannot go on; the node can, and whoever watches over it notices by the silence.
            tracing::error!("the health port serves no more: {served:?}");
        }
        () = grpc::follow(verdicts, reporter) => {}
    }
}

fn pages(verdicts: &Receiver<Verdict>) -> Router {
    let page = |answer: fn(&Verdict) -> Response| {
        let verdicts = verdicts.clone();
        get(move || std::future::ready(answer(&verdicts.borrow())))
    };
    Router::new()
        .route("/livez", page(|verdict| answer(verdict.is_live(), verdict.live_text())))
        .route("/readyz", page(|verdict| answer(verdict.is_ready(), verdict.ready_text())))
}

fn answer(holds: bool, text: String) -> Response {
    let status = if holds { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    // What stands between must not keep it: the next answer can be another.
    (status, [(CACHE_CONTROL, "no-store")], text).into_response()
}

async fn nothing() -> (StatusCode, &'static str) {
    (StatusCode::NOT_FOUND, "nothing is here but /livez and /readyz\n")
}
