//! The sending side: for each lane of a peer a queue and one task that keeps a connection open and draws from the queue.
//!
//! ```text
//!   address from the book ─▶ dial ─▶ Hello ─▶ Welcome ─▶ frames ... ─▶ broken ─▶ pause ─┐
//!             ▲                                                                         │
//!             └─────────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! After a connection that lasted there is no pause before the first dial: whether anybody still listens tells sooner than any
//! time-out that the peer's process has ended.

use std::error::Error as StdError;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::stream::{self, Stream, StreamExt as _};
use prost::Message as _;
use tokio::runtime;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tonic::{Status, Streaming};

use super::link::{Failure, Link};
use super::queue::Queue;
use super::{Contacts, Context, Envelope, FRAME_BYTES_MAX, Lane, Options, codec, dial, encode_cluster, handshake};
use crate::ids::NodeId;
use crate::proto::internal::peer_client::PeerClient;
use crate::proto::internal::{self, FromPeer, ToPeer, from_peer, to_peer};
use crate::wary::Wary;

/// The most bytes of one message: it must fit in a frame.
const MESSAGE_BYTES_MAX: usize = FRAME_BYTES_MAX - 1024;

/// The two lanes to one peer. They end when this is dropped.
pub(super) struct Peer {
    control: Arc<Queue>,
    append: Arc<Queue>,
    link: Arc<Link>,
    /// A notice: the peer was heard from. Gone: the peer is given up.
    heard: watch::Sender<()>,
    tasks: Vec<JoinHandle<()>>,
}

impl Peer {
    /// Starts to keep connections to a node.
    pub(super) fn connect(runtime: &runtime::Handle, context: &Context, peer: NodeId) -> Self {
        let control = Arc::new(Queue::new(context.options.control));
        let append = Arc::new(Queue::new(context.options.append));
        let heard = watch::Sender::new(());
        let link = Arc::new(Link::new(peer, context.delivery.clone(), context.processes.clone()));
        let start = |lane, queue: &Arc<Queue>| {
            let (context, queue, link, heard) = (context.clone(), queue.clone(), link.clone(), heard.subscribe());
            runtime.spawn(Connector { context, peer, lane, queue, link, heard }.run())
        };
        let tasks = vec![start(Lane::Control, &control), start(Lane::Append, &append)];
        Self { control, append, link, heard, tasks }
    }

    /// Puts a message into the queues of its lanes.
    pub(super) fn push(&self, envelope: Envelope) {
        match Lane::open_to(&envelope.message.body, self.link.has_control()) {
            [lane] => self.queue(*lane).push(envelope),
            lanes => lanes.iter().for_each(|lane| self.queue(*lane).push(envelope.clone())),
        }
    }

    fn queue(&self, lane: Lane) -> &Queue {
        match lane {
            Lane::Control => &self.control,
            Lane::Append => &self.append,
        }
    }

    /// The peer is alive: dial soon.
    pub(super) fn heard_from(&self) {
        self.heard.send_replace(());
    }

    /// How many messages were dropped.
    pub(super) fn dropped(&self) -> u64 {
        self.control.dropped() + self.append.dropped()
    }

    /// Gives the peer up; the tasks end when what waits is sent, or soon.
    pub(super) fn close(mut self) -> Vec<JoinHandle<()>> {
        std::mem::take(&mut self.tasks)
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.control.close();
        self.append.close();
    }
}

/// The reason at the bottom of an error, which is the one that helps ("Connection refused").
pub(super) fn why(error: &(dyn StdError + 'static)) -> String {
    let bottom = causes(error).last().unwrap_or(error);
    let text = bottom.downcast_ref::<Status>().map_or_else(|| bottom.to_string(), |status| status.message().to_owned());
    handshake::printable(&text)
}

/// The task of one lane.
struct Connector {
    context: Context,
    peer: NodeId,
    lane: Lane,
    queue: Arc<Queue>,
    link: Arc<Link>,
    heard: watch::Receiver<()>,
}

/// A connection that was let in.
struct Opened {
    answers: Streaming<FromPeer>,
    /// The process that let it in.
    process: u64,
    /// Lets the frames flow.
    begin: oneshot::Sender<()>,
}

impl Connector {
    async fn run(mut self) {
        let mut backoff = Backoff::new(&self.context.options);
        while let Some(address) = self.address().await {
            let dialed = Instant::now();
            self.heard.mark_unchanged();
            let (was_up, failure) = tokio::select! {
                ended = self.connection(&address) => ended,
                failure = self.moved(&address) => {
                    backoff.reset();
                    (false, failure)
                }
                () = given_up(self.heard.clone(), self.context.options.flush_deadline) => return,
            };
            if self.queue.is_closed() {
                return;
            }
            // What waited is stale before the next connection stands; Raft says it again, and a dead peer costs no memory. What
            // comes from here on waits for that connection.
            self.queue.clear();
            self.link.down(self.lane, failure).await;
            if was_up && dialed.elapsed() >= self.context.options.lasting {
                backoff.leave_out_first();
            } else if dialed.elapsed() >= self.context.options.backoff_max {
                backoff.reset();
            }
            if !self.pause(&mut backoff).await {
                return;
            }
        }
    }

    /// The address of the peer, as soon as the book has one. None: the peer is given up.
    async fn address(&self) -> Option<String> {
        let mut contacts = self.context.book.watch();
        loop {
            let known = contacts.borrow_and_update().get(&self.peer).map(|contact| contact.peer_address.clone());
            if known.is_some() {
                return known;
            }
            let failure = Failure::Lost(super::Error::UnknownAddress(self.peer).to_string());
            self.link.down(self.lane, failure).await;
            tokio::select! {
                changed = contacts.changed() => changed.ok()?,
                () = given_up(self.heard.clone(), Duration::ZERO) => return None,
            }
        }
    }

    /// Ends when the book has another address than the one that is dialed.
    async fn moved(&self, address: &str) -> Failure {
        let mut contacts = self.context.book.watch();
        let elsewhere =
            |contacts: &Arc<Contacts>| contacts.get(&self.peer).is_some_and(|contact| contact.peer_address != address);
        let _ = contacts.wait_for(elsewhere).await;
        Failure::Lost(format!("its address is no longer {address}"))
    }

    /// Dials and keeps the connection for as long as it lasts. Returns whether there was one, and why there is none any more.
    async fn connection(&self, address: &str) -> (bool, Failure) {
        let Opened { mut answers, process, begin } = match self.open(address).await {
            Ok(opened) => opened,
            Err(failure) => return (false, failure),
        };
        self.queue.flow();
        self.link.up(self.lane, process).await;
        // Not taken: the connection is broken already, and the answers say why.
        let _ = begin.send(());
        let failure = match answers.message().await {
            Ok(Some(_)) => Failure::Lost(format!("{address}: the peer said something after its welcome")),
            Ok(None) => Failure::Lost(format!("{address}: the peer closed the connection")),
            Err(status) => failure_of(address, &status),
        };
        (true, failure)
    }

    async fn open(&self, address: &str) -> Result<Opened, Failure> {
        let dialed = dial::dial(address, &self.context.measured, &self.context.options).await;
        let (channel, dial::Timeouts { welcome, .. }) = dialed.map_err(|error| {
            let why = format!("{address}: {}", why(&*error));
            if is_refused(&*error) { Failure::NotListening(why) } else { Failure::Lost(why) }
        })?;
        let late = || Failure::Lost(format!("{address}: no welcome within {welcome:?}"));
        timeout(welcome, self.say_hello(address, channel)).await.unwrap_or_else(|_| Err(late()))
    }

    async fn say_hello(&self, address: &str, channel: Wary) -> Result<Opened, Failure> {
        let (begin, begun) = oneshot::channel();
        let call = PeerClient::new(channel).open_lane(self.frames(begun)).await;
        let mut answers = call.map_err(|status| failure_of(address, &status))?.into_inner();
        match answers.message().await.map_err(|status| failure_of(address, &status))? {
            Some(FromPeer { frame: Some(from_peer::Frame::Welcome(welcome)) }) => {
                self.learn(welcome.addresses).await;
                Ok(Opened { answers, process: welcome.process, begin })
            }
            _ => Err(Failure::Lost(format!("{address}: the peer gave no welcome"))),
        }
    }

    /// What this side says: a Hello, then, once the peer has answered, what the queue holds.
    fn frames(&self, begun: oneshot::Receiver<()>) -> impl Stream<Item = ToPeer> + Send + 'static {
        let mut contacts = self.context.book.watch();
        let told = contacts.borrow_and_update().clone();
        let hello = internal::Hello {
            cluster_id: encode_cluster(self.context.identity.cluster),
            from: self.context.identity.node.0,
            to: self.peer.0,
            lane: match self.lane {
                Lane::Control => internal::Lane::Control.into(),
                Lane::Append => internal::Lane::Append.into(),
            },
            addresses: codec::encode_contacts(told.values()),
            process: self.context.process,
        };
        let connection = self.queue.begin();
        let frame_bytes = self.context.options.frame_bytes;
        let queue = self.queue.clone();
        let flow = Flow { begun: Some(begun), lane: self.lane, queue, connection, frame_bytes, contacts, told };
        let flow = stream::unfold(flow, |mut flow| async move { Some((flow.next().await?, flow)) });
        stream::iter([to_peer::Frame::Hello(hello)]).chain(flow).map(|frame| ToPeer { frame: Some(frame) })
    }

    async fn learn(&self, addresses: Vec<internal::Introduction>) {
        let merged = self.context.book.merge_in_background(codec::decode_contacts(addresses)).await;
        if let Err(error) = merged {
            tracing::error!(%error, peer = %self.peer, "the addresses that a peer told are not kept");
        }
    }

    /// Waits before the next dial, briefly when the peer was heard from since the last one; false: the peer is given up.
    async fn pause(&mut self, backoff: &mut Backoff) -> bool {
        let pause = backoff.next();
        if pause.is_zero() {
            return true;
        }
        tokio::select! {
            () = sleep(pause) => return true,
            heard = self.heard.changed() => if heard.is_err() { return false },
        }
        // Not at once, so that two nodes that refuse each other do not do so in a tight loop.
        backoff.reset();
        sleep(backoff.next()).await;
        true
    }
}

/// Ends `grace` after the peer was given up.
async fn given_up(mut heard: watch::Receiver<()>, grace: Duration) {
    while heard.changed().await.is_ok() {}
    sleep(grace).await;
}

/// Whether a connection could not be made because nobody listens there.
fn is_refused(error: &(dyn StdError + 'static)) -> bool {
    let is_refusal = |error: &io::Error| error.kind() == io::ErrorKind::ConnectionRefused;
    causes(error).any(|cause| cause.downcast_ref().is_some_and(is_refusal))
}

/// An error and what brought it about, the reason at the bottom last.
fn causes<'a>(error: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |&cause| cause.source())
}

fn failure_of(address: &str, status: &Status) -> Failure {
    match handshake::refusal_in(status) {
        Some(handshake::Told::Removed(index)) => Failure::Removed(index),
        Some(handshake::Told::Refused(why)) => Failure::Refused(format!("{address}: {why}")),
        None => Failure::Lost(format!("{address}: {}", why(status))),
    }
}

/// The frames of one connection after its Hello.
struct Flow {
    begun: Option<oneshot::Receiver<()>>,
    lane: Lane,
    queue: Arc<Queue>,
    connection: u64,
    frame_bytes: u64,
    contacts: watch::Receiver<Arc<Contacts>>,
    /// The contacts that the peer has heard from here.
    told: Arc<Contacts>,
}

impl Flow {
    /// The next frame. None: nothing more will come.
    async fn next(&mut self) -> Option<to_peer::Frame> {
        if let Some(begun) = self.begun.take() {
            begun.await.ok()?;
        }
        loop {
            let frame = tokio::select! {
                changed = self.contacts.changed(), if self.lane == Lane::Control => {
                    changed.ok()?;
                    self.news()
                }
                batch = self.queue.next(self.connection, self.frame_bytes) => encode_batch(&batch?),
            };
            if frame.is_some() {
                return frame;
            }
        }
    }

    /// The contacts that changed since the peer was told last.
    fn news(&mut self) -> Option<to_peer::Frame> {
        let contacts = self.contacts.borrow_and_update().clone();
        let news = contacts.values().filter(|contact| self.told.get(&contact.node) != Some(*contact));
        let addresses = codec::encode_contacts(news);
        self.told = contacts;
        (!addresses.is_empty()).then_some(to_peer::Frame::Addresses(internal::Addresses { addresses }))
    }
}

/// None: no message of the batch can be sent.
fn encode_batch(batch: &[Envelope]) -> Option<to_peer::Frame> {
    let mut messages: Vec<_> = batch.iter().map(codec::encode).collect();
    messages.retain(|message| {
        let bytes = message.encoded_len();
        if bytes > MESSAGE_BYTES_MAX {
            // Sent, it would end the connection, and the next one too.
            tracing::error!(bytes, bytes_max = MESSAGE_BYTES_MAX, "a message is too large to be sent to a peer");
        }
        bytes <= MESSAGE_BYTES_MAX
    });
    (!messages.is_empty()).then_some(to_peer::Frame::Batch(internal::Batch { messages }))
}

/// The pauses between dials: they double, and differ a little so that nodes do not dial in step.
struct Backoff {
    min: Duration,
    max: Duration,
    next: Duration,
}

impl Backoff {
    fn new(options: &Options) -> Self {
        Self { min: options.backoff_min, max: options.backoff_max, next: options.backoff_min }
    }

    fn reset(&mut self) {
        self.next = self.min;
    }

    /// No pause, and then as from the beginning.
    fn leave_out_first(&mut self) {
        self.next = Duration::ZERO;
    }

    fn next(&mut self) -> Duration {
        let pause = self.next;
        self.next = (pause * 2).clamp(self.min, self.max);
        pause.mul_f64(rand::random_range(0.5..=1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{ClusterId, Contact};
    use crate::transport::{AddressBook, Identity, Inbox};

    #[tokio::test]
    async fn a_peer_that_is_heard_from_is_dialed_soon() {
        let (delivery, _inbox) = Inbox::new(1, 1);
        let (heard, peer, options) = (watch::Sender::new(()), NodeId(2), Options::default());
        let identity = Identity { cluster: ClusterId(1), node: NodeId(1) };
        let book = AddressBook::new(identity.node, Vec::new(), |_: &[Contact]| Ok(()));
        let (measured, processes) = (Arc::default(), Arc::default());
        let context = Context { identity, book, delivery: delivery.clone(), options, measured, process: 1, processes };
        let mut connector = Connector {
            context,
            peer,
            lane: Lane::Control,
            queue: Arc::new(Queue::new(options.control)),
            link: Arc::new(Link::new(peer, delivery, Arc::default())),
            heard: heard.subscribe(),
        };
        let hour = Duration::from_secs(3600);
        let mut backoff = Backoff { next: hour, ..Backoff::new(&options) };
        heard.send_replace(());
        let soon = timeout(Duration::from_secs(20), connector.pause(&mut backoff)).await;
        assert_eq!(soon, Ok(true));
        drop(heard);
        assert!(!connector.pause(&mut Backoff { next: hour, ..backoff }).await, "given up");
    }

    #[test]
    fn pauses_double_up_to_the_longest_and_begin_again() {
        let mut backoff = Backoff::new(&Options::default());
        let full = [50, 100, 200, 400, 800, 1600, 2000, 2000, 50, 0, 50, 100];
        for (turn, millis) in full.into_iter().enumerate() {
            match turn {
                8 => backoff.reset(),
                9 => backoff.leave_out_first(),
                _ => {}
            }
            let pause = backoff.next();
            let longest = Duration::from_millis(millis);
            assert!(longest / 2 <= pause && pause <= longest, "pause {turn} is {pause:?}");
        }
    }
}
