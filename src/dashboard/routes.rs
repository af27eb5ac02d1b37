//! From a path to who answers it.

use std::convert::Infallible;

use axum::Router;
use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{FromRequestParts, OriginalUri, Query, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::http::request::Parts;
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use bytes::Bytes;
use futures_util::stream::{self as streams, StreamExt as _};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::sync::OwnedSemaphorePermit;

use super::entry::Filter;
use super::events;
use super::failure::Failure;
use super::log::{Direction, Log};
use super::queue_board::Wanted as WantedQueues;
use super::queue_messages::Wanted as WantedMessages;
use super::site::Site;
use super::{changes, files, guard, stream};
use crate::ids::Index;
use crate::telemetry::metrics::CONTENT_TYPE as CONTENT_TYPE_OF_METRICS;

/// Entries and events of one answer.
const PART_MAX: u32 = 1_000;

/// The longest text that is looked for, in bytes.
const TEXT_BYTES_MAX: usize = 1_000;

/// An answer is handed to its connection in pieces of so many bytes: what is not taken yet stays where it is counted.
const PIECE_BYTES: usize = 64 << 10;

/// Everything on the admin port.
pub(super) fn router(site: Site) -> Router {
    let changes = Router::new()
        .route("/queue/send", post(changes::send))
        .route("/queue/redrive", post(changes::redrive))
        .route("/queue/settings", post(changes::set))
        .route("/members/plan", post(changes::plan))
        .route("/members/change", post(changes::change))
        .route_layer(from_fn_with_state(site.clone(), changes::admit));
    let api = Router::new()
        .route("/cluster", get(cluster))
        .route("/stream", get(open_stream))
        .route("/events", get(events))
        .route("/log", get(log))
        .route("/log/search", get(search))
        .route("/history", get(history))
        .route("/queues", get(queues))
        .route("/queue", get(queue))
        .route("/queue/messages", get(messages))
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

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EventsWanted {
    limit: Option<usize>,
    before: Option<u64>,
}

async fn events(State(site): State<Site>, Asked(wanted): Asked<EventsWanted>) -> Result<Response, Failure> {
    let lookout = site.lookout()?;
    let place = lookout.begin_read()?;
    lookout.fresh().await;
    let limit = wanted.limit.unwrap_or(events::PART_MAX);
    Ok(held(&lookout.events.before(wanted.before.unwrap_or(u64::MAX), limit), place))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LogWanted {
    #[serde(default)]
    node: String,
    #[serde(default)]
    from: u64,
    limit: Option<u32>,
}

async fn log(State(site): State<Site>, Asked(wanted): Asked<LogWanted>) -> Result<Response, Failure> {
    let lookout = site.lookout()?;
    let place = lookout.begin_read()?;
    let node = lookout.fresh().await.find(&wanted.node)?;
    let log = Log { context: &lookout.context, node, content: site.settings().show_content };
    let part = log.part(Index(wanted.from), wanted.limit.unwrap_or(200).clamp(1, PART_MAX)).await?;
    Ok(held(&part, place))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SearchWanted {
    #[serde(default)]
    node: String,
    #[serde(default)]
    from: u64,
    #[serde(default)]
    direction: Direction,
    #[serde(default)]
    text: String,
    #[serde(default)]
    kind: String,
    #[serde(default)]
    queue: String,
    limit: Option<u32>,
}

async fn search(State(site): State<Site>, Asked(wanted): Asked<SearchWanted>) -> Result<Response, Failure> {
    if wanted.text.len() > TEXT_BYTES_MAX {
        return Err(Failure::field("text", format!("it has more than {TEXT_BYTES_MAX} bytes")));
    }
    let lookout = site.lookout()?;
    let place = lookout.begin_read()?;
    let node = lookout.fresh().await.find(&wanted.node)?;
    let log = Log { context: &lookout.context, node, content: site.settings().show_content };
    let filter = Filter { text: wanted.text.to_lowercase(), kind: wanted.kind, queue: wanted.queue };
    let limit = wanted.limit.unwrap_or(200).clamp(1, PART_MAX);
    let found = log.search(Index(wanted.from), wanted.direction, &filter, limit).await?;
    Ok(held(&found, place))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HistoryWanted {
    #[serde(default)]
    node: String,
}

async fn history(State(site): State<Site>, Asked(wanted): Asked<HistoryWanted>) -> Result<Response, Failure> {
    let lookout = site.lookout()?;
    let place = lookout.begin_read()?;
    let node = lookout.fresh().await.find(&wanted.node)?.to_string();
    Ok(held(&lookout.history.of(&node), place))
}

async fn queues(State(site): State<Site>, Asked(wanted): Asked<WantedQueues>) -> Result<Response, Failure> {
    let lookout = site.lookout()?;
    let place = lookout.begin_read()?;
    Ok(held(&lookout.queues.wanted(&wanted).await?, place))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct QueueWanted {
    name: String,
}

async fn queue(State(site): State<Site>, Asked(wanted): Asked<QueueWanted>) -> Result<Response, Failure> {
    let lookout = site.lookout()?;
    let place = lookout.begin_read()?;
    Ok(held(&lookout.queues.detail(&wanted.name).await?, place))
}

async fn messages(State(site): State<Site>, Asked(wanted): Asked<WantedMessages>) -> Result<Response, Failure> {
    let lookout = site.lookout()?;
    let place = lookout.begin_read()?;
    Ok(held(&lookout.queues.messages(&wanted, site.settings().show_content).await?, place))
}

/// What Prometheus scrapes.
async fn metrics(State(site): State<Site>) -> Result<Response, Failure> {
    let text = site.lookout()?.context.telemetry.exposition().await;
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

/// An answer that keeps its place until it is taken.
fn held(value: &impl Serialize, place: OwnedSemaphorePermit) -> Response {
    let text = serde_json::to_vec(value).expect("it has no maps with keys that are no text, and memory takes all");
    let pieces = streams::unfold((Bytes::from(text), place), async |(mut rest, place)| {
        let piece = rest.split_to(rest.len().min(PIECE_BYTES));
        (!piece.is_empty()).then_some((piece, (rest, place)))
    });
    ([(CONTENT_TYPE, "application/json")], Body::from_stream(pieces.map(Ok::<_, Infallible>))).into_response()
}

/// What stands behind the `?`. What is wrong with it is said as JSON.
struct Asked<T>(T);

impl<T: DeserializeOwned, S: Sync> FromRequestParts<S> for Asked<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failure> {
        let asked: Result<Query<T>, QueryRejection> = Query::try_from_uri(&parts.uri);
        asked.map(|Query(asked)| Self(asked)).map_err(|rejection| Failure::field("query", rejection.body_text()))
    }
}
