//! Asks the API server: for the StatefulSet, once or as a watch, and for a label of the own pod. Nothing is decided here.

use std::error::Error;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Patch, PatchParams};
use kube::config::{Config, KubeConfigOptions};
use kube::runtime::watcher::{self, Event};
use tokio::sync::{OnceCell, watch};

use super::desired::{Desired, StatefulSetName};
use crate::cluster::join::jittered;

/// How long the API server may take for one answer.
const ANSWER_MAX: Duration = Duration::from_secs(3);

/// A watch lasts so long, and then is begun anew where it ended.
const WATCH_SECONDS: u32 = 25;

/// A connection on which nothing has come for so long is dead: longer than a watch can be quiet.
const SILENCE_MAX: Duration = Duration::from_secs(30);

/// The first pause after a trouble; each further one is twice as long.
const PAUSE_MIN: Duration = Duration::from_millis(250);
/// The longest of these pauses.
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// A watch that has had no trouble for so long has none.
const CALM: Duration = Duration::from_secs(2);

/// Of what the API server says so much is told.
const MESSAGE_CHARS_MAX: usize = 200;

/// What the leader's pod is labelled with.
const ROLE_LABEL: &str = "quorate.dev/role";

/// Why the API server has not answered as it should.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Trouble {
    /// There is no way to the API server.
    #[error("there is no usable configuration for the API server of Kubernetes: {0}")]
    NotConfigured(String),
    /// It does not know this pod.
    #[error("the API server does not accept the token of this pod (401): {0}")]
    Unauthorized(String),
    /// The pod may not do this.
    #[error("the service account of this pod has not the right (403): {0}")]
    Forbidden(String),
    /// What is asked about is not there.
    #[error("the API server does not know it (404): {0}")]
    NotFound(String),
    /// It cannot go on from where a watch ended.
    #[error("the API server has forgotten where the watch was (410): {0}")]
    Expired(String),
    /// It has too much to do.
    #[error("the API server is too busy (429): {0}")]
    Busy(String),
    /// It refuses with another code.
    #[error("the API server refuses ({0}): {1}")]
    Refused(u16, String),
    /// It cannot be reached, or the connection broke.
    #[error("the API server cannot be reached: {0}")]
    Unreachable(String),
    /// It takes too long.
    #[error("the API server has not answered within {:.1} s", .0.as_secs_f64())]
    TooLate(Duration),
    /// Its answer makes no sense.
    #[error("the answer of the API server makes no sense: {0}")]
    Malformed(String),
}

impl Trouble {
    /// True when asking again in a moment may help.
    fn may_pass(&self) -> bool {
        matches!(self, Self::Busy(_) | Self::Unreachable(_) | Self::Refused(500.., _))
    }
}

/// What a watch has seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    /// What the StatefulSet asks for, as far as it is known.
    pub(super) desired: Option<Desired>,
    /// Why there is nothing later to be seen.
    pub(super) trouble: Option<Trouble>,
}

/// A way to ask for one StatefulSet and about one pod. Cheap to clone.
#[derive(Clone)]
pub(super) struct Api {
    set: StatefulSetName,
    namespace: Option<String>,
    pod: String,
    /// Where the API server is, when it is not where the environment says.
    config: Option<Config>,
    /// A client, and the namespace. Made when it is first needed.
    client: Arc<OnceCell<(kube::Client, String)>>,
}

impl Api {
    /// A way to ask for this StatefulSet and about this pod of it. Nothing is asked or loaded yet.
    pub(super) fn new(set: &str, namespace: Option<&str>, pod: &str) -> Self {
        let set = StatefulSetName(set.to_owned());
        Self { set, namespace: namespace.map(str::to_owned), pod: pod.to_owned(), config: None, client: Arc::default() }
    }

    /// The same, with an API server that is not looked for.
    #[cfg(test)]
    pub(super) fn at(self, config: Config) -> Self {
        Self { config: Some(config), ..self }
    }

    /// What the StatefulSet asks for. Asks again, within `patience`, where that may help.
    ///
    /// # Errors
    /// It is not known.
    pub(super) async fn desired(&self, patience: Duration) -> Result<Desired, Trouble> {
        let end = Instant::now() + patience;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let trouble = match in_time(left.min(ANSWER_MAX), self.ask()).await {
                Err(Trouble::NotFound(_)) => return Ok(Desired::Deleted),
                Err(Trouble::TooLate(_)) => Trouble::TooLate(patience),
                Err(trouble) if trouble.may_pass() => trouble,
                answer => return answer,
            };
            // What is left must be enough for another answer.
            if Instant::now() + 2 * PAUSE_MIN >= end {
                return Err(trouble);
            }
            tokio::time::sleep(jittered(PAUSE_MIN)).await;
        }
    }

    async fn ask(&self) -> Result<Desired, Trouble> {
        let (client, namespace) = self.connect().await?;
        let sets = kube::Api::<StatefulSet>::namespaced(client, &namespace);
        Desired::of(&sets.get(&self.set.0).await?, &self.set)
    }

    /// Lets `seen` follow what the StatefulSet asks for. Runs until it is dropped; after a trouble it begins anew.
    pub(super) async fn follow(&self, seen: &watch::Sender<Seen>) {
        let mut pause = PAUSE_MIN;
        loop {
            let began = Instant::now();
            let trouble = self.follow_until_trouble(seen).await;
            seen.send_modify(|seen| seen.trouble = Some(trouble));
            if began.elapsed() > PAUSE_MAX {
                pause = PAUSE_MIN;
            }
            tokio::time::sleep(jittered(pause)).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    async fn follow_until_trouble(&self, seen: &watch::Sender<Seen>) -> Trouble {
        let (client, namespace) = match in_time(ANSWER_MAX, self.connect()).await {
            Ok(connected) => connected,
            Err(trouble) => return trouble,
        };
        let sets = kube::Api::<StatefulSet>::namespaced(client, &namespace);
        let this_one = watcher::Config::default().fields(&format!("metadata.name={}", self.set)).timeout(WATCH_SECONDS);
        let mut events = pin!(watcher::watcher(sets, this_one));
        let mut is_listed = false;
        loop {
            let event = tokio::select! {
                event = events.next() => event,
                () = tokio::time::sleep(CALM), if seen.borrow().trouble.is_some() && is_listed => {
                    seen.send_modify(|seen| seen.trouble = None);
                    continue;
                }
            };
            let desired = match event {
                Some(Ok(Event::Init)) => {
                    is_listed = false;
                    continue;
                }
                Some(Ok(Event::InitApply(set) | Event::Apply(set))) => {
                    is_listed = true;
                    Desired::of(&set, &self.set)
                }
                Some(Ok(Event::InitDone)) if is_listed => continue,
                Some(Ok(Event::InitDone | Event::Delete(_))) => {
                    is_listed = true;
                    Ok(Desired::Deleted)
                }
                Some(Err(error)) => Err(error.into()),
                None => Err(Trouble::Unreachable("the watch has ended".to_owned())),
            };
            match desired {
                Ok(desired) => seen.send_modify(|seen| seen.desired = Some(desired)),
                Err(trouble) => return trouble,
            }
        }
    }

    /// Labels the own pod as the leader's, or takes the label away.
    ///
    /// # Errors
    /// It is not known whether that was done.
    pub(super) async fn label_leader(&self, leads: bool) -> Result<(), Trouble> {
        let role = leads.then_some("leader");
        let patch = Patch::Merge(serde_json::json!({"metadata": {"labels": {ROLE_LABEL: role}}}));
        let patching = async {
            let (client, namespace) = self.connect().await?;
            let pods = kube::Api::<Pod>::namespaced(client, &namespace);
            pods.patch_metadata(&self.pod, &PatchParams::default(), &patch).await?;
            Ok(())
        };
        in_time(ANSWER_MAX, patching).await
    }

    async fn connect(&self) -> Result<(kube::Client, String), Trouble> {
        let connected = self.client.get_or_try_init(|| async {
            let config = match &self.config {
                Some(config) => config.clone(),
                None => find_server().await?,
            };
            let namespace = self.namespace.clone().unwrap_or_else(|| config.default_namespace.clone());
            Ok::<_, Trouble>((client(config)?, namespace))
        });
        connected.await.cloned()
    }
}

/// The API server that `KUBECONFIG` names, or else that of the cluster that this pod runs in.
async fn find_server() -> Result<Config, Trouble> {
    let unusable = |error: &dyn Error| Trouble::NotConfigured(causes(error));
    if std::env::var_os("KUBECONFIG").is_some() {
        let config = Config::from_kubeconfig(&KubeConfigOptions::default()).await;
        return config.map_err(|error| unusable(&error));
    }
    Config::incluster().map_err(|error| unusable(&error))
}

fn client(mut config: Config) -> Result<kube::Client, Trouble> {
    config.connect_timeout = Some(ANSWER_MAX);
    config.read_timeout = Some(SILENCE_MAX);
    config.reset_reader_on_write = true;
    // What is asked for again, and when, is decided here.
    config.default_retry = false;
    kube::Client::try_from(config).map_err(|error| Trouble::NotConfigured(causes(&error)))
}

/// Where one's own `asking` is dropped when it takes too long.
async fn in_time<T>(patience: Duration, asking: impl Future<Output = Result<T, Trouble>>) -> Result<T, Trouble> {
    let answered = tokio::time::timeout(patience, asking).await;
    answered.unwrap_or(Err(Trouble::TooLate(patience)))
}

impl From<kube::Error> for Trouble {
    fn from(error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => refused(&status),
            kube::Error::SerdeError(_) | kube::Error::FromUtf8(_) | kube::Error::LinesCodecMaxLineLengthExceeded => {
                Self::Malformed(causes(&error))
            }
            kube::Error::Auth(_) => Self::NotConfigured(causes(&error)),
            error => Self::Unreachable(causes(&error)),
        }
    }
}

impl From<watcher::Error> for Trouble {
    fn from(error: watcher::Error) -> Self {
        match error {
            watcher::Error::InitialListFailed(error)
            | watcher::Error::WatchStartFailed(error)
            | watcher::Error::WatchFailed(error) => error.into(),
            watcher::Error::WatchError(status) => refused(&status),
            error => Self::Malformed(causes(&error)),
        }
    }
}

fn refused(status: &kube::core::Status) -> Trouble {
    let message = in_one_line(if status.message.is_empty() { &status.reason } else { &status.message });
    match status.code {
        401 => Trouble::Unauthorized(message),
        403 => Trouble::Forbidden(message),
        404 => Trouble::NotFound(message),
        410 => Trouble::Expired(message),
        429 => Trouble::Busy(message),
        code => Trouble::Refused(code, message),
    }
}

/// What an error says, and what was behind it.
fn causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let cause = error.to_string();
        if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
        source = error.source();
    }
    in_one_line(&text)
}

fn in_one_line(text: &str) -> String {
    let mut line: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if let Some((end, _)) = line.char_indices().nth(MESSAGE_CHARS_MAX) {
        line.truncate(end);
        line.push_str(" ...");
    }
    line
}
