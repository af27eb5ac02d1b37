//! A log, page by page: the leader's, or that of whichever node is asked.

use std::time::Duration;

use tonic::{Response, Streaming};

use super::call::Repeat;
use super::{Client, Error};
use crate::proto::v1;

/// How often in a row the log is asked for again without getting an entry.
const FRUITLESS_MAX: u32 = 5;

/// A node whose log is followed says something every second. One that is silent for longer than this is given up.
const FOLLOWED_SILENCE_MAX: Duration = Duration::from_secs(5);

/// A walk through a log (see [`Client::request_log`]). When the connection breaks or the leader changes, it goes on after the
/// last entry that it returned; committed entries are the same in every log.
pub struct LogPages {
    client: Client,
    /// The next index to return; 0: the first there is.
    next: u64,
    /// How many entries remain to be returned; none: all.
    left: Option<u64>,
    follow: bool,
    stream: Option<Streaming<v1::RequestLogResponse>>,
    done: bool,
}

impl LogPages {
    pub(super) fn new(client: Client, from: u64, limit: u64) -> Self {
        Self { client, next: from, left: (limit > 0).then_some(limit), follow: false, stream: None, done: false }
    }

    /// The same walk, which goes on with every entry that is committed: it has committed entries only, and pages without
    /// any while there is nothing new. It ends at its limit, or when no leader is found within the client's timeout.
    pub fn follow(self) -> Self {
        Self { follow: true, ..self }
    }

    /// The next page; none after the last entry that the node had when it was asked.
    ///
    /// # Errors
    /// [`Error::Refused`] with COMPACTED when the log does not reach back that far; otherwise as [`Client::execute`].
    /// The walk ends with an error.
    pub async fn next(&mut self) -> Result<Option<v1::RequestLogResponse>, Error> {
        for _ in 0..FRUITLESS_MAX {
            if self.done || self.left == Some(0) {
                return Ok(None);
            }
            match self.receive().await? {
                Received::Page(page) => {
                    self.count(&page);
                    return Ok(Some(page));
                }
                Received::End => self.done = true,
                Received::Broken => {
                    self.stream = None;
                    if self.follow {
                        // There is no end at which a node that leaves off again and again would be left alone.
                        tokio::time::sleep(self.client.shared.options.pause_max).await;
                    }
                }
            }
        }
        self.done = true;
        Err(Error::Malformed { what: "the log was cut off again and again".to_owned() })
    }

    async fn receive(&mut self) -> Result<Received, Error> {
        let Some(stream) = &mut self.stream else {
            let (stream, page) = self.ask().await.inspect_err(|_| self.done = true)?;
            self.stream = Some(stream);
            return Ok(page.map_or_else(|| self.left_off(), Received::Page));
        };
        let limit = self.client.shared.patience.sending(0);
        let limit = if self.follow { limit.max(FOLLOWED_SILENCE_MAX) } else { limit };
        Ok(match tokio::time::timeout(limit, stream.message()).await {
            Ok(Ok(Some(page))) => Received::Page(page),
            Ok(Ok(None)) => self.left_off(),
            // Asking again tells whether this is a refusal.
            Ok(Err(_)) | Err(_) => Received::Broken,
        })
    }

    /// Asks the leader for the rest of the log, and waits for the first page: some refusals come only with that.
    async fn ask(&mut self) -> Result<(Streaming<v1::RequestLogResponse>, Option<v1::RequestLogResponse>), Error> {
        let request = v1::RequestLogRequest {
            shard: 0,
            from_index: self.next,
            limit: self.left.unwrap_or(0),
            follow: self.follow,
            consistency: self.client.consistency.into(),
        };
        let call = self.client.call(Repeat::Freely, Duration::ZERO).reading(self.client.consistency);
        call.run(request, |mut node, request| async move {
            let mut stream = node.quorate.request_log(request).await?.into_inner();
            let first = stream.message().await?;
            Ok(Response::new((stream, first)))
        })
        .await
    }

    /// A stream that ends without a reason. One that is followed does that only when the node's process ends.
    fn left_off(&self) -> Received {
        if self.follow { Received::Broken } else { Received::End }
    }

    fn count(&mut self, page: &v1::RequestLogResponse) {
        if let Some(last) = page.entries.last() {
            self.next = last.index + 1;
        }
        if let Some(left) = &mut self.left {
            *left = left.saturating_sub(page.entries.len() as u64);
        }
    }
}

enum Received {
    Page(v1::RequestLogResponse),
    End,
    Broken,
}
