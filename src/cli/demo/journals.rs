//! The files of what the nodes tell.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::cli::local_cluster::home::Plan;
use crate::cli::local_cluster::output::Lines;

/// How often the files are looked at while everything is shown.
const PAUSE: Duration = Duration::from_millis(100);

/// What a line begins with.
const TIME: &str = "12:04:05.123";

/// A file for each node.
pub(super) struct Journals {
    files: Vec<(&'static str, PathBuf)>,
    /// Shows everything, until this is dropped; empty when it is not to be shown.
    followers: JoinSet<()>,
}

/// A place in each of the files: what comes after it was told later.
pub(super) struct Moment(Vec<u64>);

/// What a node told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Told {
    /// The node's name.
    pub(super) node: &'static str,
    /// As it stands in the file.
    pub(super) line: String,
}

impl Journals {
    /// The files of these nodes; shown as they grow, if everything is to be shown.
    pub(super) fn new(plan: &[Plan], lines: Lines, show_all: bool) -> Self {
        let files: Vec<_> = plan.iter().map(|node| (node.name, node.log())).collect();
        let mut followers = JoinSet::new();
        for (name, path) in files.iter().filter(|_| show_all) {
            followers.spawn(follow(path.clone(), lines.prefix(name), lines.clone()));
        }
        Self { files, followers }
    }

    /// True when everything is shown as it is told.
    pub(super) fn are_shown(&self) -> bool {
        !self.followers.is_empty()
    }

    /// Where the files end.
    pub(super) fn now(&self) -> Moment {
        let length = |(_, path): &(_, PathBuf)| path.metadata().map_or(0, |metadata| metadata.len());
        Moment(self.files.iter().map(length).collect())
    }

    /// Where they begin.
    pub(super) fn beginning(&self) -> Moment {
        Moment(vec![0; self.files.len()])
    }

    /// What these nodes told since then and `wanted` picks, in the order of time. One that has not been started told nothing.
    ///
    /// # Errors
    /// A file cannot be read.
    pub(super) fn since(
        &self,
        moment: &Moment,
        nodes: &[Plan],
        wanted: impl Fn(&str) -> bool,
    ) -> io::Result<Vec<Told>> {
        let mut told = Vec::new();
        let is_named = |name: &str| nodes.iter().any(|node| node.name == name);
        for ((node, path), from) in self.files.iter().zip(&moment.0).filter(|((node, _), _)| is_named(node)) {
            if path.exists() {
                let (text, _) = read_lines(path, *from)?;
                let lines = text.lines().filter(|line| wanted(line));
                told.extend(lines.map(|line| Told { node, line: line.to_owned() }));
            }
        }
        // Stable: what a node told within a millisecond stays in its order.
        told.sort_by(|one, other| one.time().cmp(other.time()));
        Ok(told)
    }
}

impl Told {
    /// The time of the day, with which a line begins. Midnight turns the order; what is checked does not depend on it.
    fn time(&self) -> &str {
        self.line.get(..TIME.len()).unwrap_or_default()
    }
}

/// Shows what comes to a file, from its beginning on.
async fn follow(path: PathBuf, prefix: String, lines: Lines) {
    let mut from = 0;
    loop {
        // A file that is not there yet may come; why one cannot be read is told where a step needs it.
        if let Ok((text, end)) = read_lines(&path, from) {
            from = end;
            for line in text.lines() {
                lines.send(format!("{prefix}{line}")).await;
            }
        }
        sleep(PAUSE).await;
    }
}

/// The whole lines from a place on, and the place after them. The last line may still be on its way.
fn read_lines(path: &Path, from: u64) -> io::Result<(String, u64)> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(from))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
    Ok((String::from_utf8_lossy(&bytes[..whole]).into_owned(), from + whole as u64))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[tokio::test]
    async fn what_was_told_since_a_moment_comes_in_the_order_of_time_and_in_whole_lines() {
        let directory = tempfile::tempdir().unwrap();
        let plan = ["a", "b"].map(|name| Plan { name, port: 1, data: directory.path().join(name), join: Vec::new() });
        let (lines, _printed) = Lines::for_test();
        let journals = Journals::new(&plan, lines, false);
        let write = |node: usize, text: &str| {
            let file = File::options().create(true).append(true).open(plan[node].log());
            file.unwrap().write_all(text.as_bytes()).unwrap();
        };
        write(0, "00:00:00.001 before\n");
        let moment = journals.now();
        write(0, "00:00:00.002 vote b\n00:00:00.002 vote a\n00:00:00.004 vote\n00:00:00.005 vo");
        write(1, "00:00:00.003 vote\n00:00:00.003 beat\n");
        let votes = |nodes: &[Plan]| {
            let told = journals.since(&moment, nodes, |line| line.contains("vote")).unwrap();
            told.into_iter().map(|told| format!("{} {}", told.node, &told.line[9..])).collect::<Vec<_>>()
        };
        assert_eq!(votes(&plan), ["a 002 vote b", "a 002 vote a", "b 003 vote", "a 004 vote"]);
        assert_eq!(votes(&plan[1..]), ["b 003 vote"]);
        std::fs::remove_file(plan[1].log()).unwrap();
        assert!(votes(&plan[1..]).is_empty(), "a node that was not started has told nothing");
    }
}
