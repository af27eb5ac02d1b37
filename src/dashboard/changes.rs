//! What a page asks to be done. This node passes it on to whichever leads, as a client of the cluster: so any node's page will do.

use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::Response;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::time::timeout;

use super::failure::Failure;
use super::site::Site;
use crate::client::Body as MessageBody;

/// The largest body of a request: a message of 1 MiB, and what JSON adds to it.
const BODY_BYTES_MAX: usize = 2 << 20;

/// A body that has not arrived after this long is given up.
const BODY_DEADLINE: Duration = Duration::from_secs(10);

/// Changes at a time, which bounds what their bodies take. One more is refused.
pub(super) const CHANGES_MAX: usize = 8;

/// Around every change: whether it may be made at all, and how many at once.
pub(super) async fn admit(State(site): State<Site>, request: Request, next: Next) -> Result<Response, Failure> {
    site.guard().admits_change(request.uri(), request.headers()).await?;
    let place = site.lookout()?.changes.try_acquire();
    let _place = place.map_err(|_| Failure::overloaded(&format!("{CHANGES_MAX} changes are being made")))?;
    Ok(next.run(request).await)
}

/// Reads what is asked for.
async fn read<T: DeserializeOwned>(body: Body) -> Result<T, Failure> {
    let read = timeout(BODY_DEADLINE, axum::body::to_bytes(body, BODY_BYTES_MAX)).await;
    let late =
        || Failure::new(StatusCode::REQUEST_TIMEOUT, "TOO_SLOW", "the body of the request did not arrive in time");
    let bytes = read.map_err(|_| late())?.map_err(|_| {
        let message = format!("a request has {BODY_BYTES_MAX} bytes at most");
        Failure::new(StatusCode::PAYLOAD_TOO_LARGE, crate::reasons::REQUEST_TOO_LARGE, message)
    })?;
    serde_json::from_slice(&bytes).map_err(|error| Failure::field("body", error))
}

/// A message for a queue.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Send {
    queue: String,
    text: String,
}

/// Puts a message into a queue.
pub(super) async fn send(State(site): State<Site>, body: Body) -> Result<Json<Value>, Failure> {
    let Send { queue, text } = read(body).await?;
    let ids = site.lookout()?.client.enqueue(&queue, vec![MessageBody::Text(text)]).await?;
    let ids: Vec<String> = ids.iter().map(|id| format!("{}/{}", id.index, id.item)).collect();
    Ok(Json(json!({ "ids": ids })))
}
