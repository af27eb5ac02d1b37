//! The addresses of a cluster's nodes, and which of them is thought to lead.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use prost::Message as _;
use tokio::time::Instant;
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Endpoint;
use tonic::{Request, Status};

use super::failure::Failure;
use super::line::Line;
use super::patience::Patience;
use super::pipe::{self, Pipe};
use super::reach::{Obstacle, OutOfReach};
use super::{Error, Forwarding, outcome};
use crate::proto::v1;
use crate::proto::v1::cluster_client::ClusterClient;
use crate::proto::v1::quorate_client::QuorateClient;
use crate::routing;
use crate::telemetry::propagation;
use crate::wary::Wary;

/// `HOST:PORT`.
pub(super) type Address = Arc<str>;

/// Where calls go, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) address: Address,
    pub(super) routing: Routing,
}

/// What the node that is asked does with a call that only the leader serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Routing {
    /// Serves it, or says who leads.
    Direct,
    /// Passes it on to the leader.
    Forward,
}

impl Routing {
    /// Asks for it in the metadata of a call.
    pub(super) fn ask(self, metadata: &mut MetadataMap) {
        if self == Routing::Forward {
            metadata.insert(routing::HEADER, MetadataValue::from_static(routing::FORWARD));
        }
    }
}

/// The way to a leader that another node names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// The client goes there by itself.
    To(Address),
    /// It cannot: the node that names the leader passes calls on.
    Through,
}

/// How many addresses are learnt from nodes at most. The one learnt first goes when another comes.
const LEARNT_MAX: usize = 64;

/// The port of clients, where an endpoint names none.
const DEFAULT_PORT: u16 = 7400;

/// The largest answer: 100 bodies of 1 MiB, which a peek may ask for, and room for what is around them.
const ANSWER_BYTES_MAX: usize = 104 << 20;

/// A connection on which a request is under way is probed this often, so that a node that froze or whose machine died is
/// noticed while a request waits for a message. For others the client has less patience where lines are fast.
pub(crate) const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(2);

/// A probed connection that stays silent for this long is given up. On a line of 1 s each way that loses a tenth of its packets, an
/// echo over TCP was seen to take 13 s; a packet that is lost three times in a row comes 21 s late.
pub(crate) const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(30);

/// The addresses that were given and those that nodes told, with a connection to each that was used.
/// One of them is current: all calls use it until one of them finds that it does not lead.
pub(super) struct Endpoints {
    given: Vec<Address>,
    state: Mutex<State>,
    /// Short requests share a stream.
    pipelined: bool,
    forwarding: Forwarding,
    patience: Arc<Patience>,
}

struct State {
    learnt: Vec<Address>,
    current: Address,
    /// The node that named the current address as the leader's, until that has been reached.
    named_by: Option<Address>,
    /// The node at the current address passes calls on until then; none: it does not.
    forwards_until: Option<Instant>,
    out_of_reach: OutOfReach,
    /// The current address was chosen since members were last learnt.
    moved: bool,
    nodes: HashMap<Address, Nodes>,
}

/// One connection, for both ways to use the node behind it.
struct Nodes {
    direct: Node,
    forward: Node,
}

/// A connection whose calls carry the caller's trace, if it has one, and how they are to be routed.
type Traced = InterceptedService<Wary, Mark>;

type Mark = fn(Request<()>) -> Result<Request<()>, Status>;

fn forward(request: Request<()>) -> Result<Request<()>, Status> {
    let mut request = propagation::inject(request)?;
    Routing::Forward.ask(request.metadata_mut());
    Ok(request)
}

/// The services of one node.
#[derive(Clone)]
pub(super) struct Node {
    pub(super) quorate: QuorateClient<Traced>,
    pub(super) cluster: ClusterClient<Traced>,
    /// The stream that short requests share, if they do.
    pipe: Option<Pipe>,
    pub(super) line: Line,
    patience: Arc<Patience>,
}

/// How long a sending may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limit {
    /// A node that answers nothing for so long is taken for dead, by what is known when it is asked.
    pub(super) silence: Duration,
    /// What the node is told: it is of no use to answer later.
    pub(super) told: Duration,
}

impl Node {
    fn new(channel: Wary, line: Line, routing: Routing, pipelined: bool, patience: Arc<Patience>) -> Self {
        let untraced = QuorateClient::new(channel.clone()).max_decoding_message_size(ANSWER_BYTES_MAX);
        let pipe = pipelined.then(|| Pipe::new(untraced, line.clone(), routing, patience.clone()));
        let mark: Mark = match routing {
            Routing::Direct => propagation::inject,
            Routing::Forward => forward,
        };
        let traced: Traced = InterceptedService::new(channel, mark);
        let quorate = QuorateClient::new(traced.clone()).max_decoding_message_size(ANSWER_BYTES_MAX);
        let cluster = ClusterClient::new(traced).max_decoding_message_size(ANSWER_BYTES_MAX);
        Self { quorate, cluster, pipe, line, patience }
    }

    /// Sends a request. One that waits for a message has a call of its own, so that the
    /// node hears at once when it is given up: on the stream it would still take a message, for nobody.
    pub(super) async fn execute(
        mut self,
        request: v1::ExecuteRequest,
        limit: Limit,
    ) -> Result<v1::ExecuteResponse, Failure> {
        let waits = !outcome::wait_of(&request.operations).is_zero();
        let response = match &self.pipe {
            Some(pipe) if !waits && request.encoded_len() <= pipe::REQUEST_BYTES_MAX => {
                pipe.execute(request, limit).await?
            }
            _ => {
                let mut request = tonic::Request::new(request);
                // Tells the node when nobody will listen any more.
                request.set_timeout(limit.told);
                self.quorate.execute(request).await?.into_inner()
            }
        };
        let request_time = response.header.as_ref().and_then(|header| header.request_time);
        self.patience.on_told(request_time.and_then(|time| time.try_into().ok()));
        Ok(response)
    }
}

impl Endpoints {
    /// The addresses `given`; the first of them is current. If `pipelined`, short requests share a stream.
    pub(super) fn new(
        given: &[String],
        pipelined: bool,
        forwarding: Forwarding,
        patience: Arc<Patience>,
    ) -> Result<Self, Error> {
        let mut addresses: Vec<Address> = Vec::new();
        for endpoint in given {
            let address = parse(endpoint)?;
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        let Some(current) = addresses.first().cloned() else {
            return Err(Error::InvalidEndpoint { endpoint: String::new(), why: "at least one is needed".to_owned() });
        };
        let state = State {
            learnt: Vec::new(),
            current,
            named_by: None,
            forwards_until: None,
            out_of_reach: OutOfReach::default(),
            moved: true,
            nodes: HashMap::new(),
        };
        Ok(Self { given: addresses, state: Mutex::new(state), pipelined, forwarding, patience })
    }

    /// The address thought to lead, or to know who does.
    pub(super) fn current(&self) -> Target {
        let mut state = self.lock();
        let passes = state.forwards_until.is_some_and(|end| end > Instant::now());
        if !passes {
            state.forwards_until = None;
        }
        let forward = passes || self.forwarding == Forwarding::Always;
        let routing = if forward { Routing::Forward } else { Routing::Direct };
        Target { address: state.current.clone(), routing }
    }

    /// The services of the node at `address`. Connects when they are first used, and again after the connection broke;
    /// the name is looked up anew each time. Err says why `address` is none.
    pub(super) fn node(&self, Target { address, routing }: &Target) -> Result<Node, String> {
        let mut state = self.lock();
        if !state.nodes.contains_key(address) {
            let line = Line::default();
            let connector = line.connector(self.patience.clone());
            let channel = Wary::from(endpoint(address)?.connect_with_connector_lazy(connector));
            let node = |routing| {
                let (channel, line, patience) = (channel.clone(), line.clone(), self.patience.clone());
                Node::new(channel, line, routing, self.pipelined, patience)
            };
            let nodes = Nodes { direct: node(Routing::Direct), forward: node(Routing::Forward) };
            state.nodes.insert(address.clone(), nodes);
        }
        let Nodes { direct, forward } = &state.nodes[address];
        Ok(if *routing == Routing::Forward { forward.clone() } else { direct.clone() })
    }

    /// The node at `from` says that the one at `to` leads. Ignored when another call has gone elsewhere in the meantime.
    pub(super) fn go_to(&self, from: &Address, to: &str) -> Way {
        let to = self.learn(to);
        let mut state = self.lock();
        let is_current = state.current == *from;
        if self.forwarding == Forwarding::Always {
            return Way::Through;
        }
        if let Some(until) = state.out_of_reach.until(&to, Instant::now()) {
            if is_current {
                state.forwards_until = Some(until);
            }
            return Way::Through;
        }
        if is_current {
            state.current = to.clone();
            state.named_by = Some(from.clone());
            state.forwards_until = None;
            state.moved = true;
        }
        Way::To(to)
    }

    /// The address cannot be reached for this reason. When others may well reach it, it is left alone for a while. If it was
    /// named as the leader's, the client goes back to the node that named it, to have calls passed on; returns that one.
    pub(super) fn cannot_reach(&self, address: &Address, obstacle: Obstacle) -> Option<Address> {
        let is_hidden = match obstacle {
            Obstacle::NameUnknown => true,
            // Who was given the address can reach it: nobody listens there.
            Obstacle::Refused => !self.given.contains(address),
            Obstacle::Silence | Obstacle::Other => false,
        };
        if !is_hidden || self.forwarding == Forwarding::Never {
            return None;
        }
        let mut state = self.lock();
        let until = state.out_of_reach.add(address, Instant::now());
        if state.current != *address {
            return None;
        }
        let by = state.named_by.take()?;
        state.current = by.clone();
        state.forwards_until = Some(until);
        Some(by)
    }

    /// The node at `address` has answered.
    pub(super) fn reached(&self, address: &Address) {
        let mut state = self.lock();
        state.out_of_reach.remove(address);
        if state.current == *address {
            state.named_by = None;
        }
    }

    /// The node at `from` is of no use now: the next address is current. Ignored when another call has gone elsewhere.
    pub(super) fn go_on_from(&self, from: &Address) {
        let mut state = self.lock();
        if state.current != *from {
            return;
        }
        let mut all: Vec<_> = self.given.iter().chain(&state.learnt).cloned().collect();
        let next = all.iter().position(|address| address == from).map_or(0, |place| (place + 1) % all.len());
        all.rotate_left(next);
        let now = Instant::now();
        let has_turn = |at: &&Address| self.given.contains(at) || state.out_of_reach.until(at, now).is_none();
        state.current = all.iter().find(has_turn).cloned().expect("what was given has its turn, and one is given");
        state.named_by = None;
        state.forwards_until = None;
        state.moved = true;
    }

    /// Whether the current address was chosen since this was last asked: then the members may have changed as well.
    pub(super) fn take_moved(&self) -> bool {
        std::mem::take(&mut self.lock().moved)
    }

    /// Takes the members' client addresses for the ones that are learnt.
    pub(super) fn learn_members(&self, members: &[v1::Member]) {
        if members.is_empty() {
            return;
        }
        self.lock().learnt.clear();
        for member in members.iter().filter(|member| !member.client_address.is_empty()) {
            self.learn(&member.client_address);
        }
        self.forget_nodes();
    }

    /// Whether there is another address to go to.
    pub(super) fn is_choice(&self) -> bool {
        self.given.len() > 1 || !self.lock().learnt.is_empty()
    }

    /// How many addresses are known.
    #[cfg(test)]
    pub(super) fn known(&self) -> usize {
        self.given.len() + self.lock().learnt.len()
    }

    fn learn(&self, address: &str) -> Address {
        let mut state = self.lock();
        if let Some(known) = self.given.iter().chain(&state.learnt).find(|known| ***known == *address) {
            return known.clone();
        }
        if state.learnt.len() == LEARNT_MAX {
            state.learnt.remove(0);
        }
        let address = Address::from(address);
        state.learnt.push(address.clone());
        address
    }

    /// Drops the connections to addresses that are not known any more. Requests under way keep theirs.
    fn forget_nodes(&self) {
        let mut state = self.lock();
        let State { learnt, current, nodes, out_of_reach, .. } = &mut *state;
        let is_known =
            |address: &Address| address == current || self.given.contains(address) || learnt.contains(address);
        nodes.retain(|address, _| is_known(address));
        out_of_reach.retain(is_known);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing in here panics half-way through a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A channel with the settings of every connection of a client. Err says why `address` is none.
pub(crate) fn channel(address: &str) -> Result<Wary, String> {
    Ok(endpoint(address)?.connect_lazy().into())
}

fn endpoint(address: &str) -> Result<Endpoint, String> {
    let endpoint = Endpoint::from_shared(format!("http://{address}")).map_err(|_| "this is no address".to_owned())?;
    Ok(endpoint
        .user_agent(concat!("quorate-client/", env!("CARGO_PKG_VERSION")))
        .map_err(|error| error.to_string())?
        .tcp_nodelay(true)
        .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT))
}

/// Reads `HOST:PORT` or `HOST`, with or without `http://`.
fn parse(endpoint: &str) -> Result<Address, Error> {
    let invalid = |why: &str| Error::InvalidEndpoint { endpoint: endpoint.to_owned(), why: why.to_owned() };
    let text = endpoint.trim();
    if text.starts_with("https://") {
        return Err(invalid("TLS is not supported; leave out 'https://'"));
    }
    let text = text.strip_prefix("http://").unwrap_or(text).trim_end_matches('/');
    // The colons within the brackets of `[::1]` do not count.
    let colon = text.rfind(':').filter(|colon| !text[*colon..].contains(']'));
    let (host, port) = match colon {
        Some(colon) => (&text[..colon], text[colon + 1..].parse().ok().filter(|port| *port != 0)),
        None => (text, Some(DEFAULT_PORT)),
    };
    let port: u16 = port.ok_or_else(|| invalid("the port is not a number from 1 to 65535"))?;
    let is_address = !host.is_empty() && !host.contains(['/', '?', '#', '@']);
    if !is_address || Endpoint::from_shared(format!("http://{host}:{port}")).is_err() {
        return Err(invalid("expected HOST:PORT, such as 127.0.0.1:7400"));
    }
    Ok(Address::from(format!("{host}:{port}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoints(given: &[&str]) -> Endpoints {
        let given: Vec<_> = given.iter().map(|text| (*text).to_owned()).collect();
        Endpoints::new(&given, false, Forwarding::WhenNeeded, Arc::default()).expect("they are addresses")
    }

    #[test]
    fn addresses_are_read_as_people_write_them() {
        assert_eq!(&*parse("node-1").unwrap(), "node-1:7400");
        assert_eq!(&*parse(" http://node-1:9000/ ").unwrap(), "node-1:9000");
        assert_eq!(&*parse("[::1]:7400").unwrap(), "[::1]:7400");
        assert_eq!(&*parse("[::1]").unwrap(), "[::1]:7400");
        for wrong in ["", ":7400", "a b:1", "node:port", "node:", "node:99999", "https://node:7400", "node/path"] {
            assert!(parse(wrong).is_err(), "{wrong:?} is no endpoint");
        }
        assert!(Endpoints::new(&[], false, Forwarding::WhenNeeded, Arc::default()).is_err());
    }

    #[test]
    fn every_address_has_its_turn_and_the_first_comes_again() {
        let endpoints = endpoints(&["a:1", "b:1"]);
        endpoints.go_to(&endpoints.current().address, "c:1");
        endpoints.go_on_from(&"c:1".into());
        assert_eq!(&*endpoints.current().address, "a:1");
        endpoints.go_on_from(&"a:1".into());
        assert_eq!(&*endpoints.current().address, "b:1");
        endpoints.go_on_from(&"b:1".into());
        assert_eq!(&*endpoints.current().address, "c:1");
    }

    #[test]
    fn a_late_failure_at_an_address_left_behind_changes_nothing() {
        let endpoints = endpoints(&["a:1", "b:1", "c:1"]);
        endpoints.go_on_from(&"a:1".into());
        endpoints.go_on_from(&"a:1".into());
        endpoints.go_to(&"a:1".into(), "c:1");
        assert_eq!(&*endpoints.current().address, "b:1");
    }

    #[test]
    fn what_is_learnt_is_bounded_and_what_was_given_stays() {
        let endpoints = endpoints(&["a:1"]);
        for number in 0..3 * LEARNT_MAX {
            endpoints.learn(&format!("n{number}:1"));
        }
        assert_eq!(endpoints.lock().learnt.len(), LEARNT_MAX);
        endpoints.learn_members(&[v1::Member { client_address: "b:1".to_owned(), ..Default::default() }]);
        endpoints.go_on_from(&"a:1".into());
        assert_eq!(&*endpoints.current().address, "b:1");
        endpoints.go_on_from(&"b:1".into());
        assert_eq!(&*endpoints.current().address, "a:1");
    }
}
