//! The network namespace: how this program gets into one of its own, and how its loopback is impaired there.
//!
//! A network namespace has an own `lo` and nothing else. Nothing of it is left when the last process in it has ended.

use std::ffi::OsString;
use std::io::{self, ErrorKind};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Output};

use rustix::process::geteuid;

use super::relay::{MARK, QUEUE, Relay};
use super::spec::Spec;
use crate::cli::{Exit, Failure};

/// So much of a packet the kernel copies for the relay, less its attribute's header; a packet of the usual 65536 would be cut.
const MTU: u32 = 65_500;

const PERMISSION: &str = "run as root, or allow plain users to have user namespaces: sysctl user.max_user_namespaces, \
    kernel.unprivileged_userns_clone (Debian), kernel.apparmor_restrict_unprivileged_userns (Ubuntu)";

/// Who impairs the loopback.
pub enum Impairment {
    /// The kernel.
    Netem,
    /// This process.
    Relay(Relay),
}

/// Replaces this process by this program with other arguments, in a network namespace of its own. Returns only if that fails.
pub fn reenter(arguments: Vec<OsString>) -> Failure {
    let program = match std::env::current_exe() {
        Ok(program) => program,
        Err(error) => return error.into(),
    };
    match way_in() {
        Ok(way) => missing("unshare", "util-linux", &unshare(way).arg(program).args(arguments).exec()),
        Err(failure) => failure,
    }
}

/// Impairs the loopback of the namespace in which this process is.
///
/// # Errors
/// A program or a right is missing, or the kernel can do it in neither way.
pub fn impair(spec: &Spec, seed: Option<u64>) -> Result<Impairment, Failure> {
    run("ip link set lo up", "iproute2")?;
    // What chance does in the kernel cannot be repeated.
    if seed.is_none() && has_netem(spec) {
        return Ok(Impairment::Netem);
    }
    run(&format!("ip link set lo mtu {MTU}"), "iproute2")?;
    let relay = Relay::start(spec.clone(), seed.unwrap_or_else(rand::random)).map_err(no_queue)?;
    fill_queue()?;
    Ok(Impairment::Relay(relay))
}

impl Impairment {
    /// Waits until it fails, which the kernel does not.
    pub async fn failed(&mut self) -> io::Error {
        match self {
            Self::Netem => std::future::pending().await,
            Self::Relay(relay) => relay.failed().await,
        }
    }

    /// Ends it; what it did, in words.
    ///
    /// # Errors
    /// The relay has failed, or the kernel does not tell.
    pub async fn stop(self) -> io::Result<String> {
        match self {
            Self::Netem => {
                let output = Command::new("tc").args(["-statistics", "qdisc", "show", "dev", "lo"]).output()?;
                Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
            }
            Self::Relay(relay) => relay.stop().await.map(|summary| summary.to_string()),
        }
    }
}

/// How a namespace can be had here: the options of `unshare`.
fn way_in() -> Result<&'static [&'static str], Failure> {
    const AS_ROOT: &[&str] = &["--net"];
    const AS_USER: &[&str] = &["--net", "--map-root-user"];
    // In a container root has not every right of root.
    let ways = if geteuid().is_root() { [AS_ROOT, AS_USER].as_slice() } else { &[AS_USER] };
    let mut why = String::new();
    for way in ways {
        let output = unshare(way).arg("true").output().map_err(|error| missing("unshare", "util-linux", &error))?;
        if output.status.success() {
            return Ok(way);
        }
        why = said(&output);
    }
    let error = format!("cannot make a network namespace: {why}");
    Err(Failure::with_hint(Exit::Failed, error, PERMISSION))
}

fn unshare(way: &[&str]) -> Command {
    let mut command = Command::new("unshare");
    command.args(way).arg("--");
    command
}

/// Asks the kernel for netem. Why there is none does not matter: then the relay has to do.
fn has_netem(spec: &Spec) -> bool {
    let spec = spec.to_string();
    let mut command = Command::new("tc");
    command.args(["qdisc", "add", "dev", "lo", "root", "netem"]).args(spec.split_whitespace());
    command.output().is_ok_and(|output| output.status.success())
}

/// Has the kernel put all packets that arrive at `lo` into the queue, but for copies. Not those that leave: until a packet arrives,
/// it counts as one that the sender's socket still holds, so that TCP would send no more than a few until they do.
fn fill_queue() -> Result<(), Failure> {
    let nft = format!(
        "add table inet impair; add chain inet impair arriving {{ type filter hook prerouting priority mangle; }}; \
         add rule inet impair arriving iifname lo meta mark != {MARK} queue num {QUEUE}"
    );
    match Command::new("nft").arg(nft).output() {
        Ok(output) if output.status.success() => return Ok(()),
        // Not there, or for another kernel: there may be the other one.
        Ok(_) | Err(_) => {}
    }
    let rule = format!("-w -t mangle -A PREROUTING -i lo -m mark ! --mark {MARK} -j NFQUEUE --queue-num {QUEUE}");
    run(&format!("iptables {rule}"), "nftables or iptables")?;
    if Path::new("/proc/self/net/if_inet6").exists() {
        run(&format!("ip6tables {rule}"), "nftables or iptables")?;
    }
    Ok(())
}

/// Runs a command, given as words, that must succeed.
fn run(words: &str, package: &str) -> Result<(), Failure> {
    let mut split = words.split_whitespace();
    let program = split.next().expect("a command begins with a program");
    // The lock of iptables is for those who share rules, and only root may write it.
    let output = Command::new(program).args(split).env("XTABLES_LOCKFILE", "/dev/null").output();
    let output = output.map_err(|error| missing(program, package, &error))?;
    if output.status.success() {
        return Ok(());
    }
    Err(Failure::new(Exit::Failed, format!("`{words}` failed: {}", said(&output))))
}

/// The first line of what a program said of its failure.
fn said(output: &Output) -> String {
    let said = String::from_utf8_lossy(&output.stderr);
    said.lines().find(|line| !line.trim().is_empty()).unwrap_or("it did not say why").trim().to_owned()
}

fn missing(program: &str, package: &str, error: &io::Error) -> Failure {
    let told = format!("cannot run {program}: {error}");
    match error.kind() {
        ErrorKind::NotFound => Failure::with_hint(Exit::Failed, told, format!("install {package}")),
        _ => Failure::new(Exit::Failed, told),
    }
}

fn no_queue(error: io::Error) -> Failure {
    let told = format!("this kernel has no netem, and cannot give packets to the relay either: {error}");
    Failure::with_hint(Exit::Failed, told, "load one of the kernel modules sch_netem and nfnetlink_queue")
}
