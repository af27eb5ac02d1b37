//! From a path to who answers it.

use axum::Router;
use axum::extract::{OriginalUri, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use bytes::Bytes;

use super::failure::Failure;
use super::site::Site;
use super::{changes, files, guard, stream};
use crate::telemetry::metrics::CONTENT_TYPE as CONTENT_TYPE_OF_METRICS;

/// Everything on the admin port.
pub(super) fn router(site: Site) -> Router {
    let changes = Router::new()
        .route("/queue/send", post(changes::send))
        .route_layer(from_fn_with_state(site.clone(), changes::admit));
    let api = Router::new()
        .route("/cluster", get(cluster))
        .route("/stream", get(open_stream))
        .merge(changes)
        .fallback(nothing)
        .method_not_allowed_fallback(wrong_method);
    Router::new()
        .nest("/api", api)
        .route(guard::METRICS, get(metrics))
        .fallback(files::answer)
        .layer(from_fn_with_state(site.clone(), guard::around))
        .with_state(site)
}

async fn cluster(State(site): State<Site>) -> Result<Response, Failure> {
    Ok(json(site.lookout()?.fresh().await.json()))
}

async fn open_stream(State(site): State<Site>) -> Result<Response, Failure> {
    stream::open(site.lookout()?)
}

/// What Prometheus scrapes.
async fn metrics(State(site): State<Site>) -> Result<Response, Failure> {
    let text = site.lookout()?.telemetry.exposition().await;
    let text = text.map_err(|why| Failure::new(StatusCode::SERVICE_UNAVAILABLE, "NO_METRICS", why.to_string()))?;
    Ok(([(CONTENT_TYPE, CONTENT_TYPE_OF_METRICS)], text).into_response())
}

async fn nothing(OriginalUri(uri): OriginalUri) -> Failure {
    Failure::new(StatusCode::NOT_FOUND, "NOT_FOUND", format!("there is no {}", uri.path()))
}

async fn wrong_method(OriginalUri(uri): OriginalUri) -> Failure {
    let message = format!("{} is not asked in this way", uri.path());
    Failure::new(StatusCode::METHOD_NOT_ALLOWED, "METHOD_NOT_ALLOWED", message)
}

fn json(text: Bytes) -> Response {
    ([(CONTENT_TYPE, "application/json")], text).into_response()
}
