//! How a node with an empty directory finds its cluster: it asks whoever it knows, again and again, and does what the rules of
//! `cluster::founding` say; with nobody to ask it starts a cluster alone.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tokio::sync::watch;
use tracing::Instrument as _;

use super::Error;
use super::start::blocking;
use crate::client;
use crate::cluster::bootstrap;
use crate::cluster::discovery::{Places, ask_promise};
use crate::cluster::founder::{Founder, Refused};
use crate::cluster::founding::{Own, Proposal, Round, Step, next_step};
use crate::cluster::join::{self, Accepted, NotAccepted};
use crate::cluster::kubernetes::forbids_founding;
use crate::cluster::{self, names};
use crate::config;
use crate::ids::{ClusterId, Contact};
use crate::raft::Recovered;
use crate::storage::{DataDirectory, FileDisk, FoundingRecord, Log};
use crate::telemetry::step;
use crate::transport::AddressBook;

/// The pause after the first round of asking that brought nothing; twice as long after each further one.
const PAUSE_MIN: Duration = Duration::from_millis(100);
/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(2);
/// What a node waits for is told when it changes, and again after so long: reasons may come and go.
const TOLD_FOR: Duration = Duration::from_secs(60);
/// So many reasons are remembered as told; then all are forgotten.
const TOLD_MAX: usize = 64;

/// A node without a cluster, and all that it needs to come to one.
pub struct Seeker<'a> {
    /// What it has promised.
    pub founder: Founder,
    /// What was on its disk of that.
    pub record: FoundingRecord,
    /// Its directory, which stays locked until what was begun has been written.
    pub directory: Arc<DataDirectory>,
    /// Whom to ask.
    pub places: Places,
    /// Who it is.
    pub contact: &'a Contact,
    /// The StatefulSet that it may be a pod of.
    pub kubernetes: &'a config::Kubernetes,
    /// Everybody's addresses.
    pub book: &'a AddressBook,
    /// Its log, which is empty. Away only while something is written to it.
    pub log: &'a mut Option<Log<FileDisk>>,
    /// What was in it; the beginning of a cluster is put there.
    pub recovered: &'a mut Option<Recovered>,
    /// Where it tells what it waits for.
    pub waits_for: &'a watch::Sender<String>,
}

impl Seeker<'_> {
    /// The cluster that the node belongs to from here on; all that this promises but the cluster id is on disk.
    ///
    /// # Errors
    /// The node cannot come to a cluster, however long it waits.
    pub async fn find(mut self) -> Result<ClusterId, Error> {
        if let Some(promise) = self.interrupted()? {
            tracing::info!("goes on to start cluster {}, which it had begun", promise.cluster);
            return self.form(&promise).instrument(step("bootstrap")).await;
        }
        if self.places.is_empty() {
            return self.start_alone().instrument(step("bootstrap")).await;
        }
        let founder = self.founder.clone();
        blocking(move || founder.asks()).await?;
        self.ask_until_found().instrument(step("join")).await
    }

    /// What the log shows: the beginning of the cluster that was promised, nothing, or what cannot be.
    fn interrupted(&self) -> Result<Option<Proposal>, cluster::Error> {
        match (&*self.recovered, &self.record.promise) {
            (None, _) => Ok(None),
            (Some(recovered), _) if join::has_begun(recovered) => Ok(None),
            (Some(recovered), Some(promise)) if bootstrap::is_beginning_of(promise, recovered) => {
                Ok(Some(promise.clone()))
            }
            _ => Err(cluster::Error::IdentityLost),
        }
    }

    async fn start_alone(&mut self) -> Result<ClusterId, Error> {
        if self.record.asks || self.record.applies.is_some() {
            return Err(cluster::Error::NobodyToAsk.into());
        }
        let proposal = match &self.record.promise {
            // It was interrupted before it began its log.
            Some(promise) => promise.clone(),
            None => Proposal {
                cluster: draw(),
                proposer: self.contact.node,
                attempt: 1,
                founders: vec![self.contact.clone()],
                commit_quorum: self.founder.own()?.commit_quorum,
            },
        };
        let expected = self.record.promise.clone();
        match self.decide_to_form(&proposal, expected).await? {
            true => self.form(&proposal).await,
            false => Err(cluster::Error::NobodyToAsk.into()),
        }
    }

    async fn ask_until_found(&mut self) -> Result<ClusterId, Error> {
        self.waits_for.send_replace("asks the other nodes who they are".to_owned());
        let mut told = Told::default();
        let (observer, mut has_asked) = (join::tell_each_once(), false);
        let mut pause = PAUSE_MIN;
        loop {
            let own = self.founder.own()?;
            let round = self.places.ask_all(self.contact).await;
            let reason = match next_step(&own, &round, draw()) {
                Step::Wait(reason) => reason,
                Step::Join { cluster, addresses } => {
                    match self.join(cluster, &addresses, &own, &observer, &mut has_asked).await? {
                        Ok(cluster) => return Ok(cluster),
                        Err(reason) => reason,
                    }
                }
                Step::Form(proposal) => match self.decide_to_form(&proposal, own.standing.promise).await? {
                    true => return self.form(&proposal).await,
                    false => continue,
                },
                Step::Propose(proposal) => match self.propose(&proposal, &round).await? {
                    Ok(()) => return self.form(&proposal).await,
                    Err(reason) => reason,
                },
            };
            self.wait_for(reason, &mut told);
            tokio::select! {
                () = tokio::time::sleep(join::jittered(pause)) => pause = (pause * 2).min(PAUSE_MAX),
                // Somebody is about to start a cluster.
                () = self.founder.stirred() => pause = PAUSE_MIN,
            }
        }
    }

    /// Applies to a cluster; `has_asked`: it has done so since it was started. Err: why the node is no member yet.
    async fn join(
        &mut self,
        cluster: ClusterId,
        addresses: &[String],
        own: &Own,
        observer: &client::Observer,
        has_asked: &mut bool,
    ) -> Result<Result<ClusterId, String>, Error> {
        let (founder, promise) = (self.founder.clone(), own.standing.promise.clone());
        if !blocking(move || founder.apply(cluster, promise.as_ref())).await? {
            return Ok(Err("has promised to start a cluster meanwhile".to_owned()));
        }
        let through = addresses.join(", ");
        let applies = format!("applies for membership of cluster {cluster} through {through}");
        if self.waits_for.send_replace(applies).is_empty() || !own.standing.applies {
            tracing::info!("applies for membership through {through}");
        }
        let joined = join::join(cluster, addresses, self.contact, observer.clone()).await;
        let had_asked = std::mem::replace(has_asked, true);
        match joined {
            Ok(Accepted { cluster, contacts }) => {
                self.book.merge_in_background(contacts).await?;
                self.write(join::begin_log).await?;
                tracing::info!("was accepted by cluster {cluster} and catches up as a learner");
                Ok(Ok(cluster))
            }
            // It was removed before this process started, or it would know.
            Err(NotAccepted::Removed(_)) if !had_asked => Err(Error::Removed { cluster }),
            Err(NotAccepted::Refused(why) | NotAccepted::Removed(why)) => Err(cluster::Error::Refused(why).into()),
            // The node that has the name is about to go where a DNS name says who there is.
            Err(NotAccepted::NameTaken(why)) if !self.places.discovers() => Err(cluster::Error::Refused(why).into()),
            Err(NotAccepted::NameTaken(why) | NotAccepted::NotYet(why)) => {
                Ok(Err(format!("has applied to cluster {cluster} and is not in yet: {why}")))
            }
        }
    }

    /// Has a cluster promised by all its founders, this node first. Err: who has not, and why.
    async fn propose(&mut self, proposal: &Proposal, round: &Round) -> Result<Result<(), String>, Error> {
        if let Some(why) = forbids_founding(self.kubernetes, &self.contact.name, proposal.founders.len()).await {
            return Ok(Err(why));
        }
        let (founder, promised) = (self.founder.clone(), proposal.clone());
        match blocking(move || founder.promise(&promised)).await {
            Ok(()) => {}
            Err(Refused::Rule(why)) => return Ok(Err(format!("cannot propose a cluster: {why}"))),
            Err(error) => return Err(error.into()),
        }
        tracing::info!(
            "proposes to start cluster {} together with {}",
            proposal.cluster,
            names::list(
                proposal
                    .founders
                    .iter()
                    .filter(|founder| founder.node != proposal.proposer)
                    .map(|founder| &founder.name)
            )
        );
        let others = proposal.founders.iter().filter(|founder| founder.node != self.contact.node);
        let asked = others.map(|founder| async move {
            let address = round.address_of(founder.node).unwrap_or(&founder.client_address);
            let promised = ask_promise(address, proposal).await;
            promised.err().map(|why| format!("{} at {address} ({why})", founder.name))
        });
        let refusals: Vec<String> = join_all(asked).await.into_iter().flatten().collect();
        if !refusals.is_empty() {
            let (cluster, refusals) = (proposal.cluster, names::list(refusals));
            return Ok(Err(format!("cannot start cluster {cluster} without the promise of {refusals}")));
        }
        match self.decide_to_form(proposal, Some(proposal.clone())).await? {
            true => Ok(Ok(())),
            false => Ok(Err("has promised to start another cluster meanwhile".to_owned())),
        }
    }

    async fn decide_to_form(&self, proposal: &Proposal, expected: Option<Proposal>) -> Result<bool, Error> {
        let (founder, proposal) = (self.founder.clone(), proposal.clone());
        Ok(blocking(move || founder.decide_to_form(&proposal, expected.as_ref())).await?)
    }

    /// Makes the log the beginning of a cluster that all its founders have promised.
    async fn form(&mut self, proposal: &Proposal) -> Result<ClusterId, Error> {
        self.book.merge_in_background(proposal.founders.clone()).await?;
        let (recovered, begun) = (self.recovered.take().unwrap_or_default(), proposal.clone());
        *self.recovered = Some(self.write(move |log| bootstrap::bootstrap(log, recovered, &begun)).await?);
        let cluster = proposal.cluster;
        match proposal.founders.as_slice() {
            [_] => tracing::info!("starts cluster {cluster} and is its only voter"),
            founders => tracing::info!(
                "starts cluster {cluster} as one of its {} voters: {}",
                founders.len(),
                founders.iter().map(|founder| founder.name.as_str()).collect::<Vec<_>>().join(", ")
            ),
        }
        Ok(cluster)
    }

    /// Writes to the log, away from the threads that serve others: a disk can hang.
    async fn write<T: Send + 'static>(&mut self, work: impl FnOnce(&mut Log<FileDisk>) -> T + Send + 'static) -> T {
        let mut log = self.log.take().expect("whoever took it has put it back, or has ended with the node");
        let directory = self.directory.clone();
        let (log, written) = blocking(move || {
            let written = work(&mut log);
            drop(directory);
            (log, written)
        })
        .await;
        *self.log = Some(log);
        written
    }

    /// Lets others see what the node waits for, and tells it, unless it has done so lately.
    fn wait_for(&self, reason: String, told: &mut Told) {
        if told.is_news(&reason) {
            tracing::info!("belongs to no cluster yet: {reason}");
        }
        self.waits_for.send_replace(reason);
    }
}

/// Which reasons were told, and when.
#[derive(Default)]
struct Told(BTreeMap<String, Instant>);

impl Told {
    fn is_news(&mut self, reason: &str) -> bool {
        let is_news = self.0.get(reason).is_none_or(|told| told.elapsed() > TOLD_FOR);
        if is_news {
            if self.0.len() == TOLD_MAX {
                self.0.clear();
            }
            self.0.insert(reason.to_owned(), Instant::now());
        }
        is_news
    }
}

fn draw() -> ClusterId {
    ClusterId(rand::random_range(1..=u128::MAX))
}
