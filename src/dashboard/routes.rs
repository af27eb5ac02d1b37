//! From a path to who answers it.

use std::io;
use std::net::Ipv6Addr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

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
use futures_util::stream as streams;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::entry::Filter;
use super::events;
use super::failure::Failure;
use super::log::{Direction, Log};
use super::lookout::READS_MAX;
use super::queue_board::Wanted as WantedQueues;
use super::queue_messages::Wanted as WantedMessages;
use super::reads::Place;
use super::server::Asker;
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

/// An answer is taken in this time, however slowly, or cut off: its place is for whoever comes next.
const ANSWER_MAX: Duration = Duration::from_secs(30);

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

async fn events(
    State(site): State<Site>,
    Asked(wanted): Asked<EventsWanted>,
    Reading(place): Reading,
) -> Result<Response, Failure> {
    let lookout = site.lookout()?;
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

async fn log(
    State(site): State<Site>,
    Asked(wanted): Asked<LogWanted>,
    Reading(place): Reading,
) -> Result<Response, Failure> {
    let lookout = site.lookout()?;
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

async fn search(
    State(site): State<Site>,
    Asked(wanted): Asked<SearchWanted>,
    Reading(place): Reading,
) -> Result<Response, Failure> {
    if wanted.text.len() > TEXT_BYTES_MAX {
        return Err(Failure::field("text", format!("it has more than {TEXT_BYTES_MAX} bytes")));
    }
    let lookout = site.lookout()?;
    let _turn = lookout.begin_search()?;
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

async fn history(
    State(site): State<Site>,
    Asked(wanted): Asked<HistoryWanted>,
    Reading(place): Reading,
) -> Result<Response, Failure> {
    let lookout = site.lookout()?;
    let node = lookout.fresh().await.find(&wanted.node)?.to_string();
    Ok(held(&lookout.history.of(&node), place))
}

async fn queues(
    State(site): State<Site>,
    Asked(wanted): Asked<WantedQueues>,
    Reading(place): Reading,
) -> Result<Response, Failure> {
    let lookout = site.lookout()?;
    Ok(held(&lookout.queues.wanted(&wanted).await?, place))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct QueueWanted {
    name: String,
}

async fn queue(
    State(site): State<Site>,
    Asked(wanted): Asked<QueueWanted>,
    Reading(place): Reading,
) -> Result<Response, Failure> {
    let lookout = site.lookout()?;
    Ok(held(&lookout.queues.detail(&wanted.name).await?, place))
}

async fn messages(
    State(site): State<Site>,
    Asked(wanted): Asked<WantedMessages>,
    Reading(place): Reading,
) -> Result<Response, Failure> {
    let lookout = site.lookout()?;
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

/// An answer that keeps its place until it is taken, or has taken too long.
fn held(value: &impl Serialize, place: Place) -> Response {
    held_for(ANSWER_MAX, value, place)
}

fn held_for(most: Duration, value: &impl Serialize, place: Place) -> Response {
    let text = serde_json::to_vec(value).expect("it has no maps with keys that are no text, and memory takes all");
    let answer = Arc::new(Mutex::new(Some(Rest { text: text.into(), _place: place })));
    let (open, closed) = oneshot::channel::<()>();
    let late = answer.clone();
    tokio::spawn(async move {
        // Nobody asks a body on for which its reader has no room: it is taken away from it.
        let _ = timeout(most, closed).await;
        take(&late);
    });
    let pieces = streams::unfold((answer, open), async |(answer, open)| {
        let piece = piece(&answer)?;
        Some((piece, (answer, open)))
    });
    ([(CONTENT_TYPE, "application/json")], Body::from_stream(pieces)).into_response()
}

/// What is not taken yet of an answer, and its place.
struct Rest {
    text: Bytes,
    _place: Place,
}

/// The next piece, of its own memory: what is taken slowly keeps no more of the answer. Then none; an error: it was cut off.
fn piece(answer: &Mutex<Option<Rest>>) -> Option<io::Result<Bytes>> {
    // It is whole after every step.
    let mut state = answer.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(rest) = &mut *state else {
        return Some(Err(io::Error::new(io::ErrorKind::TimedOut, "the answer was not taken in time")));
    };
    let piece = rest.text.split_to(rest.text.len().min(PIECE_BYTES));
    (!piece.is_empty()).then(|| Ok(Bytes::copy_from_slice(&piece)))
}

fn take(answer: &Mutex<Option<Rest>>) {
    answer.lock().unwrap_or_else(PoisonError::into_inner).take();
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

/// A place for a read of whoever asks, until what was read is taken.
struct Reading(Place);

impl FromRequestParts<Site> for Reading {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, site: &Site) -> Result<Self, Failure> {
        let asker = parts.extensions.get().and_then(|Asker(address)| *address);
        // Who has gone already counts as one of those who cannot be told apart.
        let reads = &site.lookout()?.reads;
        let place = reads.take(asker.unwrap_or(Ipv6Addr::UNSPECIFIED.into()));
        let busy =
            || Failure::overloaded(&format!("{READS_MAX} others read, or {} from this address", reads.most_of_one));
        place.map(Self).ok_or_else(busy)
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use axum::body::to_bytes;
    use futures_util::StreamExt as _;

    use super::super::reads::Reads;

    use super::*;

    #[tokio::test]
    async fn an_answer_keeps_its_place_until_it_is_taken_or_it_is_too_late() {
        let reads = Reads::new(1);
        let take = || reads.take(Ipv4Addr::LOCALHOST.into());
        let answer = async |most| {
            // The one before lets its place go on a task of its own.
            let place = loop {
                match take() {
                    Some(place) => break place,
                    None => tokio::time::sleep(Duration::from_millis(5)).await,
                }
            };
            held_for(most, &"x".repeat(3 * PIECE_BYTES), place).into_body()
        };
        let whole = to_bytes(answer(ANSWER_MAX).await, usize::MAX).await.expect("it is taken at once");
        assert_eq!(whole.len(), 3 * PIECE_BYTES + 2, "with its quotes");

        let mut slow = answer(Duration::from_millis(50)).await.into_data_stream();
        assert_eq!(slow.next().await.expect("there is more").expect("it is good").len(), PIECE_BYTES);
        assert!(take().is_none(), "it has time");
        let gone = answer(ANSWER_MAX).await;
        assert!(slow.next().await.expect("half an answer is none").is_err());
        drop(gone);
        drop(answer(ANSWER_MAX).await);
    }
}
