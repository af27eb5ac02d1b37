//! Ctrl-C, kill -9, and what is left.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output};

use rustix::process::{Signal, kill_process};

use crate::bad_network::{BadNetwork, eventually, pid, quorate};

/// A command with processes that would outlive it: one in the background, and one that has left its group and session.
const BROOD: [&str; 3] = ["sh", "-c", "sleep 1001 & setsid sleep 1002 & sleep 1003"];
/// The command, the guard, the shell and what it has started.
const PROCESSES: usize = 6;

fn brood() -> BadNetwork {
    let network = BadNetwork::with("delay 10ms", &BROOD);
    eventually("all of it runs", || (network.inmates().len() == PROCESSES).then_some(()));
    network
}

/// The number of the process whose command is this.
fn find(network: &BadNetwork, command: &str) -> u32 {
    let inmates = network.inmates();
    let found = inmates.iter().find(|(_, words)| words.contains(command));
    found.unwrap_or_else(|| panic!("{command} is not among {inmates:?}")).0
}

fn assert_nothing_is_left(network: &BadNetwork) {
    eventually("everything has ended", || network.inmates().is_empty().then_some(()));
    let rules = Command::new("sh").args(["-c", "iptables -t mangle -S; nft list ruleset"]).output().unwrap();
    let rules = String::from_utf8(rules.stdout).unwrap();
    assert!(!rules.contains("NFQUEUE") && !rules.contains("impair"), "{rules}");
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(&network.namespace), "{mounts}");
}

#[test]
#[ignore = "needs root"]
fn nothing_is_left_after_ctrl_c() {
    let mut network = brood();
    network.ctrl_c();
    let (status, told) = network.wait();
    assert_eq!(status.code(), Some(128 + 2), "{told}");
    assert!(told.contains("impair: 0 packets, "), "{told}");
    // Those that ignore Ctrl-C, as all do that a shell has started in the background, are gone as well.
    assert!(network.inmates().is_empty(), "{:?}", network.inmates());
    assert_nothing_is_left(&network);
}

#[test]
#[ignore = "needs root"]
fn nothing_is_left_after_any_of_them_is_killed() {
    type Victim = fn(&BadNetwork) -> u32;
    let victims: [(&str, Victim); 3] = [
        ("impair", |network| network.id()),
        ("guard", |network| find(network, "--guard")),
        ("the command", |network| find(network, "sh -c")),
    ];
    for (who, victim) in victims {
        let mut network = brood();
        kill_process(pid(victim(&network)), Signal::KILL).unwrap();
        let (status, told) = network.wait();
        assert!(!status.success(), "{who}: {status}, {told}");
        assert_nothing_is_left(&network);
    }
}

#[test]
#[ignore = "needs root"]
fn the_exit_code_is_that_of_the_command() {
    let (status, _) = BadNetwork::with("loss 1%", &["sh", "-c", "exit 7"]).wait();
    assert_eq!(status.code(), Some(7));
    let (status, _) = BadNetwork::with("loss 1%", &["sh", "-c", "kill -9 $$"]).wait();
    assert_eq!(status.code(), Some(128 + 9));
    let (status, told) = BadNetwork::with("loss 1%", &["/nowhere"]).wait();
    assert_eq!(status.code(), Some(1));
    assert!(told.starts_with("error: cannot run /nowhere: "), "{told}");
}

#[test]
#[ignore = "needs root"]
fn the_command_sees_nothing_but_the_loopback() {
    let output = quorate().args(["impair", "loss 1%", "--", "ls", "/sys/class/net", "/proc/self/net/dev"]).output();
    assert!(output.unwrap().status.success());
    let network = BadNetwork::new("loss 1%");
    let devices = network.within(|| fs::read_to_string("/proc/thread-self/net/dev").unwrap());
    let names: Vec<&str> =
        devices.lines().filter_map(|line| line.split_once(':')).map(|(name, _)| name.trim()).collect();
    assert_eq!(names, ["lo"]);
    network.finish();
}

/// Where plain users may have namespaces it works for them; elsewhere it says what is missing.
#[test]
#[ignore = "needs root"]
fn a_plain_user_can_have_it_where_users_may_have_namespaces() {
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let program = directory.path().join("quorate");
    fs::copy(env!("CARGO_BIN_EXE_quorate"), &program).unwrap();
    let as_user = |words: &str| -> Output {
        let mut command = Command::new("setpriv");
        command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]).args(words.split(' '));
        command.output().unwrap()
    };
    let may = as_user("unshare --map-root-user --net true").status.success();
    let output = as_user(&format!("{} impair loss 5% --seed 7 -- id -u", program.display()));
    let told = String::from_utf8(output.stderr).unwrap();
    if may {
        assert_eq!(output.stdout, b"0\n", "{told}");
        assert!(told.contains("impair: 0 packets, "), "{told}");
    } else {
        assert!(told.starts_with("error: cannot make a network namespace: "), "{told}");
        assert!(told.contains("\nhint: run as root, or allow plain users to have user namespaces"), "{told}");
    }
    assert_eq!(output.status.success(), may);
}
