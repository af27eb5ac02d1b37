//! What a node is told of its connections to a peer: `transport::link`, in short.

use super::Lane;

/// The two lanes from a node to a peer.
#[derive(Debug, Default)]
pub struct Link {
    is_control_open: bool,
    is_append_open: bool,
    /// The process of the peer that the control lane was connected to last; none: it has ended, or there was none.
    process: Option<u64>,
    /// What the node was told last; none: nothing.
    connected: Option<bool>,
}

/// What there is to tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    /// Both lanes are open.
    Connected,
    /// One is not any more, or could not be opened in the first place.
    Disconnected,
    /// Nobody listens there any more, or another process does.
    Gone,
}

impl Link {
    /// A lane can carry messages, to this process of the peer.
    pub fn up(&mut self, lane: Lane, process: u64) -> impl Iterator<Item = News> + use<> {
        *self.lane(lane) = true;
        let before = if lane == Lane::Control { self.process.replace(process) } else { None };
        let is_gone = before.is_some_and(|before| before != process);
        let is_news = self.is_control_open && self.is_append_open && self.connected != Some(true);
        if is_news {
            self.connected = Some(true);
        }
        is_gone.then_some(News::Gone).into_iter().chain(is_news.then_some(News::Connected))
    }

    /// A lane cannot carry messages; with `is_refused` because nobody listens there.
    pub fn down(&mut self, lane: Lane, is_refused: bool) -> impl Iterator<Item = News> + use<> {
        *self.lane(lane) = false;
        let is_news = self.connected.replace(false) != Some(false);
        let is_gone = lane == Lane::Control && is_refused && self.process.take().is_some();
        is_news.then_some(News::Disconnected).into_iter().chain(is_gone.then_some(News::Gone))
    }

    fn lane(&mut self, lane: Lane) -> &mut bool {
        if lane == Lane::Control { &mut self.is_control_open } else { &mut self.is_append_open }
    }
}
