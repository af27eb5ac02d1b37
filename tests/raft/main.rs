//! The Raft core from outside, through its public API: golden scripts, and random schedules that check the claims of the paper.

mod claims;
mod cluster;
mod print;
mod schedule;
mod script;
mod witness;

use std::path::PathBuf;

/// Every script in `scripts` gives the output that it was recorded with.
#[test]
fn scripts_give_their_recorded_output() {
    let is_update = std::env::var_os("UPDATE_GOLDEN").is_some();
    let mut differing = Vec::new();
    for path in scripts() {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let recorded = std::fs::read_to_string(&path).expect("the directory has just listed it");
        match std::panic::catch_unwind(|| script::run(&name, &recorded)) {
            Err(_) => differing.push(format!("{name} panicked, see above")),
            Ok(given) if given == recorded => {}
            Ok(given) if is_update => {
                std::fs::write(&path, given).expect("the sources can be written where they are updated");
            }
            Ok(given) => differing.push(format!("{name}, line {}", first_difference(&given, &recorded))),
        }
    }
    assert!(differing.is_empty(), "see with UPDATE_GOLDEN=1 and git diff:\n{}", differing.join("\n"));
}

fn scripts() -> Vec<PathBuf> {
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/raft/scripts");
    let entries = std::fs::read_dir(&directory).expect("the scripts are part of the sources");
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    assert!(!paths.is_empty(), "{} is empty", directory.display());
    paths
}

/// The number of the first line that differs, and the two.
fn first_difference(given: &str, recorded: &str) -> String {
    let lines = given.lines().count().max(recorded.lines().count());
    let pair = |line| (given.lines().nth(line), recorded.lines().nth(line));
    let line = (0..lines).find(|line| pair(*line).0 != pair(*line).1).unwrap_or(lines);
    let (given, recorded) = pair(line);
    format!("{}\n  recorded: {}\n  given:    {}", line + 1, recorded.unwrap_or("(end)"), given.unwrap_or("(end)"))
}
