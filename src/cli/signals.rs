//! Who may tell a process to stop.

use std::fmt;
use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;

use super::Exit;

/// Why the process is to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StopRequest {
    /// Ctrl-C.
    Interrupt,
    /// `kill`, or whoever runs the container.
    Terminate,
    /// The process that holds the other end of standard input has let go, or is gone.
    InputEnded,
}

/// Hears requests to stop from when it is made on.
pub(super) struct StopRequests {
    interrupt: Signal,
    terminate: Signal,
    input_ended: Option<oneshot::Receiver<()>>,
}

impl StopRequests {
    /// Listens for signals, and where `with_input` is set for the end of standard input.
    pub(super) fn listen(with_input: bool) -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            input_ended: with_input.then(watch_input),
        })
    }

    /// The next request.
    pub(super) async fn next(&mut self) -> StopRequest {
        let input_ended = async {
            match &mut self.input_ended {
                Some(ended) => ended.await.unwrap_or(()),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.interrupt.recv() => StopRequest::Interrupt,
            _ = self.terminate.recv() => StopRequest::Terminate,
            () = input_ended => StopRequest::InputEnded,
        }
    }

    /// The next signal, after a first request: the exit code with which to end at once. The end of standard input is no
    /// second request, since it comes by itself when the parent is told to stop too.
    pub(super) async fn second(&mut self) -> Exit {
        tokio::select! {
            _ = self.interrupt.recv() => Exit::Interrupted,
            _ = self.terminate.recv() => Exit::Terminated,
        }
    }
}

/// Reads standard input until it ends. On a thread of its own, because nothing can end such a read: the thread lives as long
/// as the process.
fn watch_input() -> oneshot::Receiver<()> {
    let (ended, receiver) = oneshot::channel();
    std::thread::spawn(move || {
        // A read that fails tells the same as one that ends: nobody holds the other end.
        let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
        let _ = ended.send(());
    });
    receiver
}

impl fmt::Display for StopRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            StopRequest::Interrupt => "of Ctrl-C",
            StopRequest::Terminate => "of SIGTERM",
            StopRequest::InputEnded => "the process that started it has let go of it",
        })
    }
}
