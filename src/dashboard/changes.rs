//! What a page asks to be done. This node passes it on to whichever leads, as a client of the cluster: so any node's page will do.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::Response;
use futures_util::future::join_all;
use serde::de::{DeserializeOwned, Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout};

use super::failure::Failure;
use super::members::{Change, Plan, Survey};
use super::queue_board;
use super::site::Site;
use super::view::Heard;
use crate::api;
use crate::client::{self, Client};
use crate::ids::{NodeId, SHARD_0};
use crate::proto::v1;
use crate::raft::Configuration;
use crate::state_machine;

/// What a message and its headers have at most.
const MESSAGE_BYTES_MAX: usize = state_machine::Request::MESSAGE_BYTES_MAX + state_machine::Request::HEADER_BYTES_MAX;

/// The largest body of a request: a message, of which JSON writes each byte with up to six, and a name and some words around it.
const BODY_BYTES_MAX: usize = 6 * MESSAGE_BYTES_MAX + (4 << 10);

/// A body that has not arrived after this long is given up.
const BODY_DEADLINE: Duration = Duration::from_secs(10);

/// Changes and plans of changes at a time, which bounds what their bodies take. One more is refused.
pub(super) const CHANGES_MAX: usize = 8;

/// A change of the members waits so long for a leader, and longer where elections take longer.
const ELECTION_PATIENCE: Duration = Duration::from_secs(2);

/// Between two looks for a leader.
const LOOK_PAUSE: Duration = Duration::from_millis(50);

/// Around every change: whether it may be made at all, and how many at once.
pub(super) async fn admit(State(site): State<Site>, request: Request, next: Next) -> Result<Response, Failure> {
    site.guard().admits_change(request.uri(), request.headers()).await?;
    let place = site.lookout()?.changes.try_acquire();
    let _place = place.map_err(|_| Failure::overloaded(&format!("{CHANGES_MAX} changes are being made or planned")))?;
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
    #[serde(default, deserialize_with = "each_key_once")]
    headers: BTreeMap<String, String>,
}

/// Reads a map. A key that comes twice is refused, as that of a field is: one of the two would be lost.
fn each_key_once<'de, D: Deserializer<'de>>(json: D) -> Result<BTreeMap<String, String>, D::Error> {
    struct Pairs;

    impl<'de> Visitor<'de> for Pairs {
        type Value = BTreeMap<String, String>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object of texts")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut pairs: A) -> Result<Self::Value, A::Error> {
            let mut read = BTreeMap::new();
            while let Some((key, value)) = pairs.next_entry::<String, String>()? {
                if read.contains_key(&key) {
                    return Err(A::Error::custom(format!("duplicate key {key:?}")));
                }
                read.insert(key, value);
            }
            Ok(read)
        }
    }

    json.deserialize_map(Pairs)
}

/// Puts a message into a queue.
pub(super) async fn send(State(site): State<Site>, body: Body) -> Result<Json<Value>, Failure> {
    let Send { queue, text, headers } = read(body).await?;
    let message = v1::Message { body: Some(v1::message::Body::Text(text)), headers };
    let ids = site.lookout()?.client.enqueue(&queue, vec![message]).await?;
    let ids: Vec<String> = ids.iter().map(|id| format!("{}/{}", id.index, id.item)).collect();
    Ok(Json(json!({ "ids": ids })))
}

/// Dead letters to be made ready again.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Redrive {
    queue: String,
    /// The oldest so many.
    #[serde(default)]
    limit: u32,
}

/// Makes dead letters ready again.
pub(super) async fn redrive(State(site): State<Site>, body: Body) -> Result<Json<Value>, Failure> {
    let Redrive { queue, limit } = read(body).await?;
    let moved = site.lookout()?.client.redrive(&queue, limit).await?;
    Ok(Json(json!({ "moved": moved })))
}

/// Settings for a queue. What is not given stays as it is.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    queue: String,
    lease_ms: Option<u64>,
    deliveries_max: Option<u32>,
    messages_max: Option<u64>,
}

/// Changes the settings of a queue, and tells those that are then in force.
pub(super) async fn set(State(site): State<Site>, body: Body) -> Result<Json<Value>, Failure> {
    let Settings { queue, lease_ms, deliveries_max, messages_max } = read(body).await?;
    let lease = lease_ms.map(|lease| prost_types::Duration::try_from(Duration::from_millis(lease)));
    let lease_duration = lease.transpose().map_err(|error| Failure::field("lease_ms", error))?;
    let set = v1::SetQueue { queue, lease_duration, deliveries_max, messages_max };
    let settings = site.lookout()?.client.set_queue(set).await?;
    Ok(Json(json!({ "settings": queue_board::Settings::of(Some(&settings)) })))
}

/// What a change of the members would do.
pub(super) async fn plan(State(site): State<Site>, body: Body) -> Result<Json<Plan>, Failure> {
    let change: Change = read(body).await?;
    Ok(Json(survey(&site.lookout()?.context).await?.plan(&change)))
}

/// Changes the members. Who is meant is found once: the leader is told ids, and a name cannot go to another node meanwhile.
pub(super) async fn change(State(site): State<Site>, body: Body) -> Result<Json<Value>, Failure> {
    let change: Change = read(body).await?;
    let lookout = site.lookout()?;
    let survey = survey(&lookout.context).await?;
    let node = survey.after(&change)?.node;
    let changed = carry_out(&lookout.client, node, change).await;
    let text = changed.map_err(|error| survey.in_names(error.into()))?;
    Ok(Json(json!({ "done": true, "text": text })))
}

/// How the members are: what was gathered for the page can be older than the change that was made last. While another leader is
/// elected, that is waited for.
async fn survey(context: &api::Context) -> Result<Survey, Failure> {
    let deadline = Instant::now() + context.longest_wait(ELECTION_PATIENCE);
    loop {
        // A look that waits for a silent member tells how the others were when it began.
        let began = Instant::now();
        let survey = survey_once(context).await?;
        if survey.is_settled() || began >= deadline {
            return Ok(survey);
        }
        sleep(LOOK_PAUSE).await;
    }
}

/// Asks all members how they are.
async fn survey_once(context: &api::Context) -> Result<Survey, Failure> {
    let membership = context.handle.look(SHARD_0, |status| status.membership.clone());
    let missing = || Failure::new(StatusCode::CONFLICT, "NO_CLUSTER", "this node belongs to no cluster yet");
    let membership = membership.ok_or_else(missing)?;
    let asked = membership.configuration.members().map(|node| ask(context, &membership.configuration, node));
    let nodes = join_all(asked).await.into_iter().collect();
    Ok(Survey::new(membership, nodes))
}

async fn ask(context: &api::Context, configuration: &Configuration, node: NodeId) -> (NodeId, Heard) {
    let status = match node == context.handle.node() {
        true => Some(api::status::own(context)),
        false => context.peers.status(node, context.handle.request_time()).await,
    };
    let member = crate::cluster::members::describe(node, configuration, &context.book);
    (node, Heard { member, reachable: status.is_some(), status, ..Heard::default() })
}

/// Has the leader make a change of this member, and says what has become of it.
async fn carry_out(client: &Client, node: NodeId, change: Change) -> Result<String, client::Error> {
    let id = node.to_string();
    Ok(match change {
        Change::Add { name, client_address, peer_address, stay_learner, .. } => {
            let applicant = Change::applicant(id, name.clone(), client_address, peer_address);
            client.add_member(applicant, stay_learner).await?;
            match stay_learner {
                true => format!("{name} is a learner until it is promoted."),
                false => format!("{name} is a learner, and gets a vote once it has caught up."),
            }
        }
        Change::Promote { member } => {
            client.promote_member(&id).await?;
            format!("{member} has a vote.")
        }
        Change::Remove { member } => {
            client.remove_members(&[&id]).await?;
            format!("{member} is no member any more.")
        }
        Change::Transfer { member } => {
            client.transfer_leadership(Some(&id)).await?;
            format!("{member} leads.")
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// JSON writes a control character with six.
    #[tokio::test]
    async fn the_largest_message_fits_however_long_its_json_is() {
        let text = "\u{1b}".repeat(state_machine::Request::MESSAGE_BYTES_MAX);
        let headers = json!({ "key": "\u{1b}".repeat(state_machine::Request::HEADER_BYTES_MAX) });
        let body = json!({ "queue": "x".repeat(255), "text": text, "headers": headers });
        let send: Send = read(Body::from(body.to_string())).await.expect("it fits");
        assert_eq!(send.text, text);
        assert!(read::<Send>(Body::from(vec![b' '; BODY_BYTES_MAX + 1])).await.is_err());
    }
}
