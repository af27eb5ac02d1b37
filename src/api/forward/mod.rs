//! Calls that a node passes on to the leader because their client asks for that: it cannot reach the address that it would be
//! told, as behind `kubectl port-forward`.
//!
//! ```text
//!   client --quorate-routing: forward--> this node --quorate-routing: forwarded--> leader
//!          <------------------- answers, trailers: as the leader gives them -------
//! ```
//!
//! A call goes on as the bytes it came in, so that single calls and streams are alike, deadlines and traces stay what they
//! were, and HTTP/2 lets each side wait for the other. `body` has what happens to bytes on their way, `link` and `own` the connections.
//!
//! Invariants
//! - One hop: what has been passed on once is never passed on again.
//! - No call waits because another one is not read.
//! - The client is told that nothing was done only if nothing was sent to the leader.
//! - A conversation ends when this node knows another leader than the one it goes to, also one that this node serves itself because
//!   it knew none.
//! - A node that leads, or knows no leader or no address of it, or stops, treats the call as if nothing had been asked for.
//!
//! Not here: which calls the leader serves how; whether a client asks for this is its own matter.

mod body;
mod link;
pub(crate) mod own;

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as Wakeup, Poll};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::body::Body;
use tonic::codegen::{BoxFuture, Service, http};
use tonic::metadata::MetadataMap;
use tonic::server::NamedService;

use super::Context;
use super::errors::{self, Rejection};
use super::route::route_to_leader;
use crate::ids::{Contact, NodeId, SHARD_0};
use crate::node::Phase;
use crate::raft::RoleName;
use crate::replica::{self, Refusal};
use crate::telemetry::{self, propagation};
use crate::{reasons, routing};
use link::{Link, NotSent};

/// Calls that are passed on at a time, and so connections to the leader but for one. One more is refused as OVERLOADED.
pub const CALLS_MAX: usize = 512;

/// When this node stops, calls that were passed on have so long to be answered. What has no answer by then most likely waits for
/// a message, and must not use up the time that the node has for its end.
const FAREWELL: Duration = Duration::from_millis(1500);

/// How often a conversation looks whether it goes to the leader.
const LOOK: Duration = Duration::from_millis(100);

/// Passes calls on. Clones share the connection and the bound.
#[derive(Clone)]
pub(super) struct Forwarder(Arc<Shared>);

struct Shared {
    context: Context,
    link: Link,
    free: Arc<Semaphore>,
}

/// How a method uses its call. Only methods that need the leader are here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// A question and an answer.
    Single,
    /// Many questions and their answers.
    Conversation,
    /// A question and pages of answers.
    Pages,
}

/// A call that is to be passed on.
struct Forward {
    rpc: &'static str,
    kind: Kind,
    leader: Contact,
    room: OwnedSemaphorePermit,
}

impl Forwarder {
    pub(super) fn new(context: Context) -> Self {
        Self(Arc::new(Shared { context, link: Link::default(), free: Arc::new(Semaphore::new(CALLS_MAX)) }))
    }

    /// The service, from which calls are passed on whose clients ask for it.
    pub(super) fn around<S>(&self, service: S) -> Forwarding<S> {
        Forwarding { service, forwarder: self.clone() }
    }

    /// Whether a call is to be passed on; none: this node serves it.
    ///
    /// # Errors
    /// What is asked for is not known, or too much is under way.
    fn decide<B>(&self, request: &http::Request<B>) -> Result<Option<Forward>, Rejection> {
        let Some(asked) = request.headers().get(routing::HEADER) else { return Ok(None) };
        if asked == routing::FORWARDED {
            return Ok(None);
        }
        if asked != routing::FORWARD {
            let asked = String::from_utf8_lossy(asked.as_bytes());
            let message = format!("'{asked}' is not known; '{}' asks for the call to be passed on", routing::FORWARD);
            return Err(Rejection::field(reasons::INVALID_REQUEST, routing::HEADER, message));
        }
        let Some((rpc, kind)) = needs_leader(request.uri().path()) else { return Ok(None) };
        let Some(leader) = self.leader() else { return Ok(None) };
        let free = self.0.free.clone().try_acquire_owned();
        let room = free.map_err(|_| errors::too_many_forwarded(CALLS_MAX))?;
        Ok(Some(Forward { rpc, kind, leader, room }))
    }

    /// A call that this node serves itself. A conversation whose client asks for it to be passed on stays only until there is somebody
    /// to pass it on to: then it ends, and the client begins another.
    fn own(&self, request: http::Request<Body>) -> http::Request<Body> {
        let asked = request.headers().get(routing::HEADER);
        let is_conversation = needs_leader(request.uri().path()).is_some_and(|(_, kind)| kind == Kind::Conversation);
        if !is_conversation || asked.is_none_or(|asked| asked != routing::FORWARD) {
            return request;
        }
        let misled = misled(self.0.context.clone(), self.0.context.handle.node());
        request.map(|body| Body::new(body::Questions::new(body, misled, body::Halt::default())))
    }

    /// The leader, if it is another node and calls can be passed on to it.
    fn leader(&self) -> Option<Contact> {
        let context = &self.0.context;
        if *context.phase.borrow() >= Phase::Draining {
            return None;
        }
        let leader = context.handle.look(SHARD_0, |status| match status.role {
            RoleName::Leader => None,
            _ if status.quarantined.is_some() => None,
            _ => status.leader,
        });
        let leader = leader.flatten().filter(|leader| *leader != context.handle.node())?;
        context.book.get(leader)
    }

    async fn forward(self, forward: Forward, request: http::Request<Body>) -> http::Response<Body> {
        let Forward { rpc, kind, leader, room } = forward;
        let context = &self.0.context;
        self.tell(rpc, &leader, request.headers());
        let mut end = Box::pin(end(context.clone(), kind, leader.clone()));
        let request_time = context.handle.request_time();
        let (request, halt) = self.outgoing(kind, leader.node, request);
        let sent = tokio::select! {
            biased;
            sent = self.0.link.send(&leader, kind, request, request_time) => sent.map_err(|not_sent| match not_sent {
                NotSent::Unreachable(why) => errors::leader_unreachable(&leader, &why),
                NotSent::Lost(why) => errors::forwarded_outcome_unknown(&leader, &why),
            }),
            why = &mut end => Err(why),
        };
        match sent {
            Ok((response, hold)) => {
                let (head, body) = response.into_parts();
                let answer = body::Answer::new(body, context.clone(), leader, end, halt, (room, hold));
                http::Response::from_parts(head, Body::new(answer))
            }
            Err(why) => why.into_status(context).into_http(),
        }
    }

    /// The request as the leader gets it, and whether this node has cut it short.
    fn outgoing(&self, kind: Kind, leader: NodeId, request: http::Request<Body>) -> (http::Request<Body>, body::Halt) {
        let (mut head, body) = request.into_parts();
        head.headers.insert(routing::HEADER, http::HeaderValue::from_static(routing::FORWARDED));
        let halt = body::Halt::default();
        let body = match kind {
            Kind::Conversation => {
                Body::new(body::Questions::new(body, misled(self.0.context.clone(), leader), halt.clone()))
            }
            Kind::Single | Kind::Pages => body,
        };
        (http::Request::from_parts(head, body), halt)
    }

    fn tell(&self, rpc: &'static str, leader: &Contact, headers: &http::HeaderMap) {
        let _logged_with_its_trace = propagation::from_metadata(&MetadataMap::from_headers(headers.clone())).attach();
        telemetry::request::forwarded(rpc, &leader.name, &leader.client_address);
        self.0.context.telemetry.forwarded(rpc);
    }
}

/// A method that only the leader serves: its name, as spans have it, and how it uses its call.
fn needs_leader(path: &str) -> Option<(&'static str, Kind)> {
    let methods = [
        ("quorate.v1.Quorate/Execute", Kind::Single),
        ("quorate.v1.Quorate/ExecuteStream", Kind::Conversation),
        ("quorate.v1.Quorate/RequestLog", Kind::Pages),
        ("quorate.v1.Cluster/AddMember", Kind::Single),
        ("quorate.v1.Cluster/RemoveMember", Kind::Single),
        ("quorate.v1.Cluster/PromoteMember", Kind::Single),
        ("quorate.v1.Cluster/TransferLeadership", Kind::Single),
    ];
    let path = path.strip_prefix('/')?;
    methods.into_iter().find(|(rpc, _)| *rpc == path)
}

/// Passes when a call must end because this node does, and says what its client is told.
async fn end(context: Context, kind: Kind, leader: Contact) -> Rejection {
    context.drained().await;
    if kind == Kind::Pages {
        return errors::shutting_down();
    }
    tokio::time::sleep(FAREWELL).await;
    errors::forwarded_outcome_unknown(&leader, "this node stops")
}

/// Passes when this node stops, or knows another leader than the node to which a conversation goes. That one may never have led, and
/// would go on answering each question with "not the leader" for as long as the client asks.
async fn misled(context: Context, leader: NodeId) {
    // What the loop publishes changes with each of its turns, and every conversation would be woken.
    let mut looks = tokio::time::interval(LOOK);
    let another = |status: &replica::Status| status.leader.is_some_and(|known| known != leader);
    let moved = async {
        while !context.handle.look(SHARD_0, another).unwrap_or(false) {
            looks.tick().await;
        }
    };
    tokio::select! {
        () = context.drained() => {}
        () = moved => {}
    }
}

/// What a client is told whose conversation this node has cut short.
fn cut_short(context: &Context) -> Rejection {
    let this_node_leads = || {
        let term = context.term();
        errors::refusal(Refusal::NotLeader { leader: Some(context.handle.node()), term }, context)
    };
    route_to_leader(context, SHARD_0.0).err().unwrap_or_else(this_node_leads)
}

/// A service, from which calls are passed on whose clients ask for it.
#[derive(Clone)]
pub(super) struct Forwarding<S> {
    service: S,
    forwarder: Forwarder,
}

impl<S: NamedService> NamedService for Forwarding<S> {
    const NAME: &'static str = S::NAME;
}

impl<S> Service<http::Request<Body>> for Forwarding<S>
where
    S: Service<
            http::Request<Body>,
            Response = http::Response<Body>,
            Error = Infallible,
            Future = BoxFuture<http::Response<Body>, Infallible>,
        >,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, wakeup: &mut Wakeup<'_>) -> Poll<Result<(), Infallible>> {
        self.service.poll_ready(wakeup)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        match self.forwarder.decide(&request) {
            Ok(None) => self.service.call(self.forwarder.own(request)),
            Ok(Some(forward)) => {
                let forwarder = self.forwarder.clone();
                Box::pin(async move { Ok(forwarder.forward(forward, request).await) })
            }
            Err(why) => {
                let refused = why.into_status(&self.forwarder.0.context).into_http();
                Box::pin(std::future::ready(Ok(refused)))
            }
        }
    }
}

/// Something that a body waits for.
type Waited<T> = Pin<Box<dyn Future<Output = T> + Send>>;
