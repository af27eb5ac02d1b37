//! Names of queues for completion, asked from the cluster.

use std::time::{Duration, Instant};

use tokio::runtime::Handle;

use crate::client::Client;

/// How long the prompt may stand still.
const PATIENCE: Duration = Duration::from_millis(500);
/// How long an answer, or that there was none, counts.
const FRESH: Duration = Duration::from_secs(3);
/// Names that are asked for at a time. More are of no use to anybody who looks at them.
const NAMES_MAX: u32 = 200;

/// A way to ask for names from a thread that is not the runtime's, and what was answered last.
pub(super) struct QueueNames {
    client: Client,
    runtime: Handle,
    last: Option<Answer>,
}

struct Answer {
    prefix: String,
    names: Vec<String>,
    /// There are more that begin like this.
    more: bool,
    at: Instant,
}

impl QueueNames {
    /// Must be called on the runtime.
    pub(super) fn new(client: Client) -> Self {
        Self { client, runtime: Handle::current(), last: None }
    }

    /// The first names that begin with `prefix`; none when the cluster does not answer in a moment.
    pub(super) fn beginning_with(&mut self, prefix: &str) -> Vec<String> {
        let known = self.last.take().filter(|answer| answer.tells(prefix));
        let answer = known.unwrap_or_else(|| self.ask(prefix));
        let names = answer.names.iter().filter(|name| name.starts_with(prefix)).cloned().collect();
        self.last = Some(answer);
        names
    }

    fn ask(&self, prefix: &str) -> Answer {
        let asked = async { tokio::time::timeout(PATIENCE, self.client.queues_after(prefix, NAMES_MAX)).await };
        let (queues, more) = match self.runtime.block_on(asked) {
            Ok(Ok(page)) => (page.value.queues, page.value.more),
            Ok(Err(_)) | Err(_) => (Vec::new(), false),
        };
        // In order, so that those with the prefix come first. The prefix itself is no name to complete.
        let names: Vec<_> =
            queues.into_iter().map(|queue| queue.name).take_while(|name| name.starts_with(prefix)).collect();
        let more = more && names.len() == NAMES_MAX as usize;
        Answer { prefix: prefix.to_owned(), names, more, at: Instant::now() }
    }
}

impl Answer {
    /// Whether it still says which names begin with `prefix`.
    fn tells(&self, prefix: &str) -> bool {
        let covers = prefix == self.prefix || (prefix.starts_with(&self.prefix) && !self.more);
        covers && self.at.elapsed() < FRESH
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::fake::{Step, cluster};
    use crate::client::{Body, Options};

    #[tokio::test(flavor = "multi_thread")]
    async fn names_are_asked_for_once_and_a_silent_cluster_is_not_waited_for() {
        let (nodes, world) = cluster(1).await;
        let client = Client::new(vec![nodes[0].address.clone()], Options::default()).unwrap();
        for queue in ["apples", "oranges", "orders", "pears"] {
            client.enqueue(queue, vec![Body::Text("x".to_owned())]).await.unwrap();
        }
        let mut names = QueueNames::new(client);
        let asked = tokio::task::spawn_blocking(move || {
            let before = world.lock().unwrap().requests.len();
            assert_eq!(names.beginning_with("or"), ["oranges", "orders"]);
            assert_eq!(names.beginning_with("ord"), ["orders"]);
            assert_eq!(names.beginning_with("orx"), Vec::<String>::new());
            assert_eq!(world.lock().unwrap().requests.len(), before + 1, "the second and third are known");

            nodes[0].then([Step::Ignore]);
            let start = Instant::now();
            assert_eq!(names.beginning_with("p"), Vec::<String>::new());
            assert!(start.elapsed() < PATIENCE * 10);
            let before = world.lock().unwrap().requests.len();
            assert_eq!(names.beginning_with("p"), Vec::<String>::new());
            assert_eq!(
                world.lock().unwrap().requests.len(),
                before,
                "a cluster that is silent is not asked at each key"
            );
        });
        asked.await.unwrap();
    }
}
