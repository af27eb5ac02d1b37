//! `quorate impair`: runs a command on a bad network. The network is the loopback of a network namespace of its own, impaired by
//! the kernel's netem where there is one, and otherwise by a relay in this process with a model of netem.
//!
//! ```text
//!    spec        netem's language
//!    model       what happens to a packet               (PURE, seeded)
//!    link        the packets that are under way         (PURE)
//!    packet      bytes, the flipped bit, the header
//!    queue       packets from the kernel, and back: NFQUEUE
//!    relay       a thread that takes them from the queue to the link, and back
//!    summary     what it did, in numbers
//!    namespace   how to get into one, and its rules
//!    guard       kills what is left in it
//! ```
//!
//! ```text
//!    quorate impair SPEC -- COMMAND
//!      becomes unshare, and that   quorate impair --within SPEC -- COMMAND     (one process, whose id stays)
//!                                    relay, a thread
//!                                    COMMAND, in the same process group: the terminal is its own
//!                                    quorate impair --guard
//! ```
//!
//! Invariants: no packet leaves the namespace, which has no other interface. When this process, the guard or the command ends,
//! however it ends, all of them do, and so does everything that was started in the namespace; with the last process the kernel
//! removes the namespace and the rule in it.
//!
//! Not here: anything about Quorate. The command can be any.

mod guard;
mod link;
mod model;
mod namespace;
mod packet;
mod queue;
mod relay;
mod spec;
mod summary;

use std::ffi::OsString;
use std::fs::File;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use clap::Args;
use rustix::process::{Pid, Signal, getpgrp, kill_process};
use rustix::termios::tcgetpgrp;
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};

use super::{Exit, Failure};
use guard::Guard;
use namespace::Impairment;
pub(super) use spec::{ACCEPTANCE, Spec};

/// The end of the help text.
pub const HELP: &str = "\
SPEC is netem's (man tc-netem): delay TIME [JITTER [CORRELATION]], loss P [C], corrupt P [C], duplicate P [C],
reorder P [C] [gap N], limit N. Without one it is: delay 1000ms 50ms reorder 8% corrupt 5% duplicate 2% loss 5%.
Each packet on the loopback is delayed once, so a round trip takes twice the delay.

Needs unshare (util-linux), ip (iproute2), and where the kernel has no netem nft or iptables; runs as root, or as a plain
user where those may have user namespaces. The command sees a network of its own, with nothing but the loopback on it. When it
ends, all that it has started there is killed.

Examples:
  quorate impair 'delay 100ms 10ms loss 2%' -- quorate dev
  quorate impair -- bash                      a shell on the network of the acceptance demonstration
  quorate impair --seed 7 loss 30% -- ping -c 20 127.0.0.1

Exit codes: that of the command, 128 and the number of the signal that has ended it; 1 it could not be run; 2 wrong usage.";

/// A command on a bad network.
#[derive(Args, Debug)]
pub struct Arguments {
    /// What the network does to packets
    #[arg(value_name = "SPEC")]
    pub spec: Vec<String>,
    /// Repeat what chance did before, packet by packet; never with the netem of the kernel
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// It is in the namespace by now.
    #[arg(long, hide = true)]
    pub within: bool,
    /// It is the guard of another one.
    #[arg(long, hide = true)]
    pub guard: bool,
    /// What is run there
    #[arg(last = true, value_name = "COMMAND", required_unless_present = "guard")]
    pub command: Vec<OsString>,
}

/// Runs a command on a bad network.
///
/// # Errors
/// There can be no such network here, or the command cannot be run.
pub async fn run(arguments: Arguments) -> Result<Exit, Failure> {
    if arguments.guard {
        return Ok(guard::stand().await?);
    }
    let spec = read(&arguments.spec.join(" "))?;
    if !arguments.within {
        return Err(reenter(&spec, arguments.seed, arguments.command));
    }
    within(&spec, arguments.seed, &arguments.command).await
}

/// Reads what the network is to do. Nothing: what the network of the acceptance demonstration does.
pub(super) fn read(words: &str) -> Result<Spec, Failure> {
    let words = if words.trim().is_empty() { ACCEPTANCE } else { words };
    let hint = "the language is that of man tc-netem; see quorate impair --help";
    words.parse().map_err(|error: spec::Error| Failure::with_hint(Exit::Usage, error, hint))
}

/// Replaces this process by one on a bad network that runs the command. Returns only if that fails.
pub(super) fn reenter(spec: &Spec, seed: Option<u64>, command: Vec<OsString>) -> Failure {
    let mut arguments: Vec<OsString> = vec!["impair".into(), "--within".into()];
    if let Some(seed) = seed {
        arguments.extend(["--seed".into(), seed.to_string().into()]);
    }
    arguments.extend([spec.to_string().into(), "--".into()]);
    arguments.extend(command);
    namespace::reenter(arguments)
}

async fn within(spec: &Spec, seed: Option<u64>, command: &[OsString]) -> Result<Exit, Failure> {
    let mut impairment = namespace::impair(spec, seed)?;
    // From here on this process ends only after it.
    let mut guard = Guard::start(["impair", "--guard"])?;
    eprintln!("impair: {spec}, {}", by_whom(&impairment));
    let ended = attend(command, &mut impairment, &mut guard).await;
    // First, so that nobody goes on without the relay.
    let swept = guard.finish().await;
    let told = impairment.stop().await;
    let exit = ended?;
    swept?;
    for line in told?.lines() {
        eprintln!("impair: {line}");
    }
    Ok(exit)
}

fn by_whom(impairment: &Impairment) -> String {
    match impairment {
        Impairment::Netem => "by the netem of the kernel".to_owned(),
        Impairment::Relay(relay) => format!("by a relay (--seed {})", relay.seed()),
    }
}

/// Runs the command and waits until it ends, or can no longer have the network that was asked for.
async fn attend(command: &[OsString], impairment: &mut Impairment, guard: &mut Guard) -> Result<Exit, Failure> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let (program, arguments) = command.split_first().expect("clap asks for a command");
    let mut child = Command::new(program)
        .args(arguments)
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| Failure::new(Exit::Failed, format!("cannot run {}: {error}", program.display())))?;
    loop {
        tokio::select! {
            status = child.wait() => return Ok(exit(status?)),
            error = impairment.failed() => {
                return Err(Failure::new(Exit::Failed, format!("the relay has failed: {error}")));
            }
            () = guard.ended() => return Err(Failure::new(Exit::Failed, "the guard has ended before the command")),
            _ = terminate.recv() => pass_on(&child, Signal::TERM),
            _ = interrupt.recv() => if !has_terminal() { pass_on(&child, Signal::INT) },
        }
    }
}

/// Whether Ctrl-C reaches the command without us, as it does all that is in the foreground of a terminal.
fn has_terminal() -> bool {
    let foreground = File::open("/dev/tty").and_then(|terminal| Ok(tcgetpgrp(terminal)?));
    foreground.is_ok_and(|foreground| foreground == getpgrp())
}

fn pass_on(child: &Child, to: Signal) {
    if let Some(process) = child.id().and_then(|id| Pid::from_raw(id.cast_signed())) {
        // It may just have ended.
        let _ = kill_process(process, to);
    }
}

/// As a shell tells it.
fn exit(status: ExitStatus) -> Exit {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    Exit::Other(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(Exit::Failed.code()))
}
