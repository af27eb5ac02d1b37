//! Hosts: network namespaces with an address each, on one bridge. The process of the test sits at the bridge itself and reaches
//! all of them.
//!
//! A cut sends what a host has for another one to a hardware address that nobody has, so that it vanishes without a word, as
//! on a broken link. The other direction is a cut of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::process::Command;

/// A hardware address that no host has.
const NOBODY: &str = "02:00:00:00:00:01";

/// All hosts, and the links between them.
pub struct Network {
    addresses: BTreeMap<String, Ipv4Addr>,
    /// From whom to whom nothing gets through.
    cuts: BTreeSet<(String, String)>,
    /// The last part of the address that was given last. None is given twice.
    last: u8,
}

impl Network {
    /// A bridge without hosts, in the network namespace of this process.
    pub fn new() -> Self {
        let network = Self { addresses: BTreeMap::new(), cuts: BTreeSet::new(), last: 1 };
        ip("link set lo up");
        ip("link add bridge type bridge");
        ip(&format!("addr add {}/24 dev bridge", network.gateway()));
        ip("link set bridge up");
        network
    }

    /// The address of the process of the test.
    pub fn gateway(&self) -> Ipv4Addr {
        Ipv4Addr::new(10, 77, 0, 1)
    }

    /// One more host.
    pub fn add(&mut self, name: &str) {
        let link = format!("to{}", self.addresses.len());
        ip(&format!("netns add {name}"));
        ip(&format!("link add {link} type veth peer name eth0 netns {name}"));
        ip(&format!("link set {link} master bridge up"));
        ip(&format!("-n {name} link set lo up"));
        ip(&format!("-n {name} link set eth0 up"));
        self.give_address(name);
    }

    /// Takes a host's address away and gives it another one.
    pub fn move_host(&mut self, name: &str) {
        ip(&format!("-n {name} addr flush dev eth0"));
        self.give_address(name);
        for (from, to) in &self.cuts {
            if to == name {
                self.apply_cut(from, to);
            }
        }
    }

    pub fn address(&self, name: &str) -> Ipv4Addr {
        self.addresses[name]
    }

    /// From now on nothing of what `from` sends reaches `to`.
    pub fn cut_one_way(&mut self, from: &str, to: &str) {
        self.apply_cut(from, to);
        self.cuts.insert((from.to_owned(), to.to_owned()));
    }

    /// Everything gets through again.
    pub fn heal(&mut self) {
        for (from, to) in std::mem::take(&mut self.cuts) {
            ip(&format!("-n {from} neigh del {} dev eth0", self.address(&to)));
        }
    }

    fn give_address(&mut self, name: &str) {
        self.last += 1;
        let address = Ipv4Addr::new(10, 77, 0, self.last);
        ip(&format!("-n {name} addr add {address}/24 dev eth0"));
        self.addresses.insert(name.to_owned(), address);
    }

    fn apply_cut(&self, from: &str, to: &str) {
        ip(&format!("-n {from} neigh replace {} lladdr {NOBODY} dev eth0 nud permanent", self.address(to)));
    }
}

fn ip(arguments: &str) {
    run(&format!("ip {arguments}"));
}

/// Runs a command, given as words, that must succeed.
pub fn run(words: &str) {
    let mut words = words.split_whitespace();
    let output = Command::new(words.next().expect("a program")).args(words.clone()).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{} failed: {error}", words.collect::<Vec<_>>().join(" "));
}
