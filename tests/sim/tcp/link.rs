//! What a node is told of its connections to a peer: `transport::link`, in short.

use super::Lane;

/// The two lanes from a node to a peer.
#[derive(Debug, Default)]
pub struct Link {
    is_control_open: bool,
    is_append_open: bool,
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
}

impl Link {
    /// A lane can carry messages.
    pub fn up(&mut self, lane: Lane) -> Option<News> {
        *self.lane(lane) = true;
        let is_news = self.is_control_open && self.is_append_open && self.connected != Some(true);
        is_news.then(|| self.connected = Some(true))?;
        Some(News::Connected)
    }

    /// A lane cannot carry messages.
    pub fn down(&mut self, lane: Lane) -> Option<News> {
        *self.lane(lane) = false;
        (self.connected.replace(false) != Some(false)).then_some(News::Disconnected)
    }

    fn lane(&mut self, lane: Lane) -> &mut bool {
        if lane == Lane::Control { &mut self.is_control_open } else { &mut self.is_append_open }
    }
}
