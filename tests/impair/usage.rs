//! What is said where there can be no bad network.

use std::os::unix::fs::symlink;
use std::process::Command;

use crate::bad_network::quorate;

/// The exit code, and what it says of it.
fn told(command: &mut Command) -> (Option<i32>, String) {
    let output = command.output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn words_that_make_no_sense_are_named() {
    let hint = "hint: the language is that of man tc-netem; see quorate impair --help\n";
    let (code, text) = told(quorate().args(["impair", "delay 100ms", "lose", "5%", "--", "true"]));
    assert_eq!(code, Some(2), "{text}");
    assert!(text.starts_with("error: \"lose\" is none of delay, loss, "), "{text}");
    assert!(text.ends_with(hint), "{text}");
    let (code, text) = told(quorate().args(["demo", "--impair", "delay 100"]));
    assert_eq!(code, Some(2), "{text}");
    assert!(text.starts_with("error: \"100\" after delay is not a time with its unit"), "{text}");
    assert_eq!(told(quorate().args(["impair", "loss 5%"])).0, Some(2), "there is no command");
}

#[test]
fn what_is_missing_is_named() {
    for arguments in [["impair", "loss 5%", "--", "true"].as_slice(), &["demo", "--impair"]] {
        let (code, text) = told(quorate().args(arguments).env("PATH", "/nowhere"));
        assert_eq!(code, Some(1), "{text}");
        assert!(text.starts_with("error: cannot run unshare: "), "{text}");
        assert!(text.ends_with("hint: install util-linux\n"), "{text}");
    }
}

/// The error is told although the namespace is there by then, with this process in it.
#[test]
#[ignore = "needs root"]
fn what_is_missing_in_the_namespace_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let path = Command::new("sh")
        .args(["-c", "for program in unshare ip; do command -v $program; done"])
        .output()
        .unwrap()
        .stdout;
    for program in String::from_utf8(path).unwrap().lines().filter(|line| line.starts_with('/')) {
        symlink(program, directory.path().join(program.rsplit('/').next().unwrap())).unwrap();
    }
    symlink("/bin/true", directory.path().join("true")).unwrap();
    let arguments = ["impair", "--seed", "7", "loss 5%", "--", "true"];
    let (code, text) = told(quorate().args(arguments).env("PATH", directory.path()));
    assert_eq!(code, Some(1), "{text}");
    assert!(text.starts_with("error: cannot run iptables: "), "{text}");
    assert!(text.ends_with("hint: install nftables or iptables\n"), "{text}");
}
