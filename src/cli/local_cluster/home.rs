//! Where a cluster on this machine keeps its things, and what is known of it from before.
//!
//! ```text
//!    DIR/dev.lock     locked while the cluster runs
//!    DIR/dev.yaml     the client port of each node; its other ports follow it
//!    DIR/a  DIR/b     the data directory of each node
//!    DIR/a.log        what the node tells, where it is kept in files
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tempfile::TempDir;

use crate::cli::{Exit, Failure};

/// More nodes than this are not run on one machine.
pub(in crate::cli) const NODES_MAX: usize = 9;
const NAMES: [&str; NODES_MAX] = ["a", "b", "c", "d", "e", "f", "g", "h", "i"];
const NODES_DEFAULT: usize = 3;
const FIRST_PORT: u16 = 7400;
/// From one node's client port to the next one's, so that people can tell whose a port is.
const PORTS_APART: u16 = 10;
/// From a node's client port to that for people.
const ADMIN: u16 = 2;
/// The ports of a node after that of its clients: for its peers, for people, and for those who ask how it is.
const FOLLOWING: [u16; 3] = [1, ADMIN, 3];

/// The directory of a cluster, and the nodes that are to run in it.
pub(in crate::cli) struct Home {
    plan: Vec<Plan>,
    is_new: bool,
    directory: PathBuf,
    /// Removes the directory when the cluster ends.
    temporary: Option<TempDir>,
    /// Holds the lock on the directory.
    _lock: File,
}

/// How one node is to be run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cli) struct Plan {
    /// Its name.
    pub(in crate::cli) name: &'static str,
    /// Its client port.
    pub(in crate::cli) port: u16,
    /// Its data directory.
    pub(in crate::cli) data: PathBuf,
    /// The client ports of the nodes to join through.
    pub(in crate::cli) join: Vec<u16>,
}

/// What `dev.yaml` holds.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Remembered {
    ports: BTreeMap<String, u16>,
}

/// Why a directory cannot be used.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("cannot use {}", path.display())]
    Unusable {
        path: PathBuf,
        #[source]
        cause: io::Error,
    },
    #[error("{} is in use by another `quorate dev` or `quorate demo`", path.display())]
    Locked { path: PathBuf },
    #[error("{} is not what `quorate dev` and `quorate demo` write", path.display())]
    Malformed {
        path: PathBuf,
        #[source]
        cause: serde_yaml::Error,
    },
    #[error("{} holds a cluster of {there} nodes, and {wanted} are too few to run it", path.display())]
    TooFewNodes { path: PathBuf, there: usize, wanted: usize },
    #[error("one of the ports {port} to {} of this machine is in use", port + 3)]
    PortsTaken { port: u16 },
    #[error("found no four free ports in a row on this machine")]
    NoFreePorts,
}

impl Home {
    /// Opens or makes the directory `data`, by default one that is removed at the end, and decides who runs where: `nodes`
    /// nodes, by default as many as there are, on ports from `base` on, by default as the last time.
    pub(in crate::cli) fn open(data: Option<&Path>, nodes: Option<usize>, base: Option<u16>) -> Result<Self, Failure> {
        let (directory, temporary) = directory(data)?;
        let lock = lock(&directory)?;
        let remembered = Remembered::read(&directory)?;
        let there = remembered.ports.len();
        let nodes = nodes.unwrap_or(if there == 0 { NODES_DEFAULT } else { there });
        if nodes < there {
            let error = Error::TooFewNodes { path: directory, there, wanted: nodes };
            return Err(Failure::with_hint(
                Exit::Usage,
                error,
                "run all of its nodes, or give another --data directory",
            ));
        }
        let ports = ports(&NAMES[..nodes], &remembered, base)
            .map_err(|error| Failure::with_hint(Exit::Failed, error, "choose other ports with --ports"))?;
        remember(&directory, &ports)?;
        let plan = plan(&directory, &ports);
        let is_new = plan.iter().all(|node| !has_run(&node.data));
        Ok(Self { plan, is_new, directory, temporary, _lock: lock })
    }

    /// The nodes; the first one starts the cluster if it is new.
    pub(in crate::cli) fn plan(&self) -> &[Plan] {
        &self.plan
    }

    /// True when no node has run here before.
    pub(in crate::cli) fn is_new(&self) -> bool {
        self.is_new
    }

    /// Where everything is.
    pub(in crate::cli) fn directory(&self) -> &Path {
        &self.directory
    }

    /// True when the directory is removed at the end.
    pub(in crate::cli) fn is_temporary(&self) -> bool {
        self.temporary.is_some()
    }

    /// Leaves the directory where it is, also at the end.
    pub(in crate::cli) fn keep(&mut self) {
        if let Some(temporary) = self.temporary.take() {
            let _path = temporary.keep();
        }
    }
}

impl Plan {
    /// The client address.
    pub(in crate::cli) fn address(&self) -> String {
        loopback(self.port)
    }

    /// Where people look at it in a browser.
    pub(in crate::cli) fn admin_address(&self) -> String {
        loopback(self.port + ADMIN)
    }

    /// The file of what it tells, where that is kept in files.
    pub(in crate::cli) fn log(&self) -> PathBuf {
        self.data.with_extension("log")
    }

    /// What to give to `quorate`, so that it runs this node.
    pub(in crate::cli) fn arguments(&self) -> Vec<String> {
        let mut arguments: Vec<String> = ["server", "--name", self.name, "--listen"].map(str::to_owned).into();
        arguments.extend([self.address(), "--data".into(), self.data.display().to_string()]);
        if !self.join.is_empty() {
            let addresses: Vec<String> = self.join.iter().copied().map(loopback).collect();
            arguments.extend(["--join".into(), addresses.join(",")]);
        }
        arguments
    }
}

fn loopback(port: u16) -> String {
    format!("127.0.0.1:{port}")
}

fn directory(data: Option<&Path>) -> Result<(PathBuf, Option<TempDir>), Error> {
    let unusable = |path: &Path| {
        let path = path.to_owned();
        move |cause| Error::Unusable { path, cause }
    };
    match data {
        Some(path) => {
            fs::create_dir_all(path).map_err(unusable(path))?;
            Ok((path.to_owned(), None))
        }
        None => {
            let parent = std::env::temp_dir();
            let made = tempfile::Builder::new().prefix("quorate-").tempdir_in(&parent);
            let temporary = made.map_err(unusable(&parent))?;
            Ok((temporary.path().to_owned(), Some(temporary)))
        }
    }
}

fn lock(directory: &Path) -> Result<File, Error> {
    let path = directory.join("dev.lock");
    let unusable = |cause| Error::Unusable { path: path.clone(), cause };
    let file = File::options().create(true).append(true).open(&path).map_err(unusable)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(fs::TryLockError::WouldBlock) => Err(Error::Locked { path: directory.to_owned() }),
        Err(fs::TryLockError::Error(cause)) => Err(Error::Unusable { path, cause }),
    }
}

impl Remembered {
    fn read(directory: &Path) -> Result<Self, Error> {
        let path = directory.join("dev.yaml");
        match fs::read_to_string(&path) {
            Ok(text) => serde_yaml::from_str(&text).map_err(|cause| Error::Malformed { path, cause }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(cause) => Err(Error::Unusable { path, cause }),
        }
    }
}

/// Writes `dev.yaml` aside and renames it, so that it is never half a file.
fn remember(directory: &Path, ports: &[(&'static str, u16)]) -> Result<(), Error> {
    let ports = ports.iter().map(|(name, port)| (name.to_string(), *port)).collect();
    let text = serde_yaml::to_string(&Remembered { ports }).expect("names and numbers can be written as YAML");
    let write = || {
        let mut file = tempfile::NamedTempFile::new_in(directory)?;
        file.write_all(b"# Written by `quorate`: the client port of each node. Its other ports follow it.\n")?;
        file.write_all(text.as_bytes())?;
        file.persist(directory.join("dev.yaml"))?;
        io::Result::Ok(())
    };
    write().map_err(|cause| Error::Unusable { path: directory.join("dev.yaml"), cause })
}

/// A client port for each name: as asked for, else as the last time, else from 7400 on, else any. The ports after it are free
/// too.
fn ports(
    names: &[&'static str],
    remembered: &Remembered,
    base: Option<u16>,
) -> Result<Vec<(&'static str, u16)>, Error> {
    let mut taken = BTreeSet::new();
    let mut chosen = Vec::new();
    for (name, offset) in names.iter().zip((0u16..).step_by(PORTS_APART.into())) {
        let wish = remembered.ports.get(*name).copied().unwrap_or(FIRST_PORT + offset);
        let port = match base {
            Some(base) if is_free(base + offset, &taken) => base + offset,
            Some(base) => return Err(Error::PortsTaken { port: base + offset }),
            None if is_free(wish, &taken) => wish,
            None => {
                let free = free_ports(&taken).ok_or(Error::NoFreePorts)?;
                eprintln!("node {name} gets port {free}, as not all of its ports from {wish} on are free");
                free
            }
        };
        taken.extend(of_node(port));
        chosen.push((*name, port));
    }
    Ok(chosen)
}

/// All ports of the node with this client port, as far as there are so many.
fn of_node(client: u16) -> impl Iterator<Item = u16> {
    std::iter::once(client).chain(FOLLOWING.into_iter().filter_map(move |later| client.checked_add(later)))
}

/// True when there are all ports of a node from `port` on, and they can be listened on.
fn is_free(port: u16, taken: &BTreeSet<u16>) -> bool {
    let can_listen = |port: u16| !taken.contains(&port) && TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
    of_node(port).count() > FOLLOWING.len() && of_node(port).all(can_listen)
}

fn free_ports(taken: &BTreeSet<u16>) -> Option<u16> {
    const TRIES: usize = 100;
    let any = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).ok()?.local_addr().ok();
    (0..TRIES).filter_map(|_| any()).map(|address| address.port()).find(|port| is_free(*port, taken))
}

/// The nodes, each with the others to join through. A node whose cluster runs nowhere else than in its own directory joins
/// nobody: it starts the cluster, or goes on with it.
fn plan(directory: &Path, ports: &[(&'static str, u16)]) -> Vec<Plan> {
    let data = |name: &str| directory.join(name);
    let others = |name: &str| ports.iter().filter(move |(other, _)| *other != name).copied().collect::<Vec<_>>();
    let founder = ports.first().map(|(name, _)| *name);
    let node = |(name, port): &(&'static str, u16)| {
        let others = others(name);
        let alone = Some(*name) == founder && !others.iter().any(|(other, _)| has_run(&data(other)));
        let join = if alone { Vec::new() } else { others.iter().map(|(_, port)| *port).collect() };
        Plan { name, port: *port, data: data(name), join }
    };
    ports.iter().map(node).collect()
}

/// True when there is something in the data directory.
fn has_run(data: &Path) -> bool {
    fs::read_dir(data).is_ok_and(|mut entries| entries.next().is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(directory: &Path, nodes: Option<usize>) -> Result<Vec<Plan>, String> {
        let home = Home::open(Some(directory), nodes, None).map_err(|failure| failure.lines()[0].clone())?;
        assert_eq!(home.is_new(), home.plan().iter().all(|node| !has_run(&node.data)));
        Ok(home.plan.clone())
    }

    #[test]
    fn the_first_node_starts_a_new_cluster_and_rejoins_one_that_others_know() {
        let directory = tempfile::tempdir().unwrap();
        let joins = |plan: &[Plan]| plan.iter().map(|node| node.join.len()).collect::<Vec<_>>();
        let plan = open(directory.path(), None).unwrap();
        assert_eq!(joins(&plan), [0, 2, 2]);

        let run = |node: &Plan| {
            fs::create_dir_all(&node.data).unwrap();
            fs::write(node.data.join("identity"), "").unwrap();
        };
        run(&plan[0]);
        assert_eq!(joins(&open(directory.path(), None).unwrap()), [0, 2, 2]);
        run(&plan[1]);
        assert_eq!(joins(&open(directory.path(), None).unwrap()), [2, 2, 2]);
        fs::remove_dir_all(&plan[0].data).unwrap();
        assert_eq!(
            joins(&open(directory.path(), None).unwrap()),
            [2, 2, 2],
            "a lost disk does not start a second cluster"
        );
    }

    #[test]
    fn ports_are_remembered_while_they_are_free() {
        let directory = tempfile::tempdir().unwrap();
        let free = free_ports(&BTreeSet::new()).unwrap();
        fs::write(directory.path().join("dev.yaml"), format!("ports: {{a: {free}}}")).unwrap();
        assert_eq!(open(directory.path(), None).unwrap()[0].port, free);

        for later in [1, 3] {
            let before = open(directory.path(), None).unwrap()[0].port;
            let _occupied = TcpListener::bind((Ipv4Addr::LOCALHOST, before + later)).unwrap();
            let moved = open(directory.path(), None).unwrap()[0].port;
            assert_ne!(moved, before);
            assert_eq!(open(directory.path(), None).unwrap()[0].port, moved);
        }
    }

    /// Ports of an earlier release stood two apart, so that the health port of one node was the peer port of the next.
    #[test]
    fn no_two_nodes_share_a_port() {
        let directory = tempfile::tempdir().unwrap();
        let free = free_ports(&BTreeSet::new()).unwrap();
        fs::write(directory.path().join("dev.yaml"), format!("ports: {{a: {free}, b: {}}}", free + 2)).unwrap();
        let plan = open(directory.path(), Some(4)).unwrap();
        let ports: BTreeSet<u16> = plan.iter().flat_map(|node| of_node(node.port)).collect();
        assert_eq!((plan[0].port, ports.len()), (free, 16));
    }

    /// A node would end at once, and the others would join whatever listens there.
    #[test]
    fn ports_that_are_asked_for_and_taken_are_named() {
        let directory = tempfile::tempdir().unwrap();
        let occupied = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = occupied.local_addr().unwrap().port();
        let failure = Home::open(Some(directory.path()), Some(1), Some(port)).map(drop).unwrap_err();
        assert_eq!(
            failure.lines()[0],
            format!("error: one of the ports {port} to {} of this machine is in use", port + 3)
        );
    }

    #[test]
    fn a_directory_that_cannot_be_used_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().display();
        open(directory.path(), Some(4)).unwrap();
        let too_few = format!("error: {path} holds a cluster of 4 nodes, and 3 are too few to run it");
        assert_eq!(open(directory.path(), Some(3)), Err(too_few));

        let _first = Home::open(Some(directory.path()), None, None).map_err(|failure| failure.lines()).unwrap();
        let locked = format!("error: {path} is in use by another `quorate dev` or `quorate demo`");
        assert_eq!(open(directory.path(), None), Err(locked));
    }
}
