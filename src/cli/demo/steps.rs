//! The seven steps. Each tells what it does, does it, shows what came, and checks it.

use std::collections::BTreeMap;
use std::slice;
use std::time::Duration;

use tokio::time::Instant;

use super::Stop;
use super::compare::{Compared, compare, gap, read_log};
use super::enqueue::{id_texts, until_executed};
use super::journals::Told;
use super::stage::{Leader, QUEUE, Stage, is_heartbeat, is_no_heartbeat, names};
use crate::cli::Failure;
use crate::cli::client_commands::{log_text, status_text};
use crate::cli::local_cluster::home::Plan;
use crate::cli::local_cluster::view::View;
use crate::cli::local_cluster::{self, program};
use crate::client::{Body, Client, Options};
use crate::proto::v1;

/// How many there are.
pub(super) const STEPS: usize = 7;

/// So many heartbeats of each node are shown.
const BEATS: usize = 2;

const APPLIES: &str = "applies for membership through";

/// What must be left in the queue at the end.
const LEFT: [&str; 9] = ["3", "s", "s", "t", "e", "r", "U", "W", "U"];

/// Plays all steps, up to the first one that fails.
///
/// # Errors
/// What was waited for has not come, or a check has failed.
pub(super) async fn play(stage: &mut Stage, how: Stop) -> Result<(), Failure> {
    six_nodes_form_a_cluster(stage).await?;
    a_follower_redirects(stage).await?;
    let stopped = two_nodes_stop(stage, how).await?;
    the_new_leader_serves(stage).await?;
    the_two_come_back(stage, &stopped).await?;
    one_that_came_back_redirects(stage, &stopped[0]).await?;
    all_logs_are_the_same(stage).await
}

async fn six_nodes_form_a_cluster(stage: &mut Stage) -> Result<(), Failure> {
    stage.report.step("Six nodes: the first starts the cluster, the others apply for membership").await;
    let plan = stage.home.plan().to_vec();
    for node in &plan {
        stage.report.command(&start_command(node)).await;
    }
    let began = stage.now();
    local_cluster::start(&stage.home, &mut stage.nodes).await?;
    let complete = |view: &View| (view.voters().len() >= plan.len()).then(|| view.voters().join(" "));
    let voters = stage.until("six nodes to vote", complete).await?;
    stage.leader().await?;
    let mut told = stage.told(&began, &plan, is_about_membership)?;
    // All of them tell who is a member, in the same words.
    told.retain(|told| told.node == plan[0].name || told.line.contains(APPLIES));
    stage.show("How they became members:", &told).await;
    let beats = stage.until_told(&stage.now(), &plan, BEATS, is_heartbeat).await?;
    stage.show("Heartbeats:", &first_of_each(beats, BEATS)).await;
    show_status(stage).await?;
    stage.report.check("the voters", names(&plan), voters).await;
    stage.report.end_step().await
}

async fn a_follower_redirects(stage: &mut Stage) -> Result<(), Failure> {
    stage.report.step("At a node that does not lead, until executed: enqueue 1, 2, 3, s, s").await;
    let leader = stage.leader().await?;
    let asked = stage.running().into_iter().find(|node| *node != leader.plan).expect("only one of six leads");
    let before = stage.now();
    until_executed(&mut stage.report, &asked, &leader.plan, "1", stage.patience.wait).await?;
    let told = stage.told(&before, &[asked.clone(), leader.plan.clone()], is_no_heartbeat)?;
    stage.show("What the two nodes tell of it:", &told).await;
    for text in ["2", "3", "s", "s"] {
        until_executed(&mut stage.report, &asked, &leader.plan, text, stage.patience.wait).await?;
    }
    stage.report.end_step().await
}

/// Returns the two.
async fn two_nodes_stop(stage: &mut Stage, how: Stop) -> Result<[Plan; 2], Failure> {
    stage.report.step("Stop the leader and one more: the four that are left elect another").await;
    let old = stage.leader().await?;
    let mut left = stage.running();
    left.retain(|node| *node != old.plan);
    let stopped = [old.plan.clone(), left.pop().expect("six nodes run")];
    stage.report.command(&stop_command(stage, how, &stopped)).await;

    let (before, began) = (stage.now(), Instant::now());
    stage.stop(&stopped, how.signal()).await?;
    let has_new_leader = |view: &View| view.leader().filter(|leader| leader.term > old.term).map(drop);
    stage.until("a leader of a later term", has_new_leader).await?;
    let elapsed = began.elapsed();
    let Leader { plan: new, term } = stage.leader().await?;
    if how == Stop::CtrlC {
        let told = stage.until_told(&before, slice::from_ref(&old.plan), 1, is_hand_over).await?;
        stage.show("Before it stops, the leader hands over:", &told).await;
    }
    let victory = format!("becomes leader of term {term} ");
    stage.until_told(&before, slice::from_ref(&new), 1, |line| line.contains(&victory)).await?;
    let told = stage.told(&before, &left, is_about_elections)?;
    // Apart from the rest, which is long when votes are split, and would push it out of what is shown.
    let (won, rest): (Vec<_>, Vec<_>) = told.into_iter().partition(|told| is_about_votes_in(&told.line, term));
    // The one to whom a leader hands over needs no pre-vote.
    if !rest.is_empty() {
        stage.show("Pre-votes, refusals, and other terms:", &rest).await;
    }
    stage.show(&format!("The election of term {term}:"), &won).await;
    show_status(stage).await?;
    stage.report.say(&format!("{} leads in term {term}, {} ms after the signal.", new.name, elapsed.as_millis())).await;
    let winners: Vec<_> = won.iter().filter(|told| told.line.contains(&victory)).map(|told| told.node).collect();
    stage.report.check(&format!("who became leader in term {term}"), new.name, winners.join(" ")).await;
    stage.report.check("who runs", names(&left), names(&stage.running())).await;
    stage.report.end_step().await?;
    Ok(stopped)
}

async fn the_new_leader_serves(stage: &mut Stage) -> Result<(), Failure> {
    stage.report.step("At the new leader: dequeue, dequeue, enqueue t, e, r").await;
    let leader = stage.leader().await?;
    let client = client_of(&leader.plan, stage.patience.wait)?;
    for expected in ["1", "2"] {
        stage.report.command(&client_command(&format!("dequeue {QUEUE}"), &leader.plan)).await;
        let message = client.dequeue(QUEUE, Duration::ZERO).await?;
        stage.report.check("the oldest message", expected, message.as_ref().map_or("none", text)).await;
    }
    for text in ["t", "e", "r"] {
        stage.report.command(&client_command(&format!("enqueue {QUEUE} {text}"), &leader.plan)).await;
        let ids = client.enqueue(QUEUE, vec![Body::Text(text.to_owned())]).await?;
        stage.report.say(&format!("executed: message {}", id_texts(&ids))).await;
    }
    client.close().await;
    stage.report.end_step().await
}

async fn the_two_come_back(stage: &mut Stage, two: &[Plan; 2]) -> Result<(), Failure> {
    stage.report.step("The two start again, with the same addresses and directories").await;
    let all = names(stage.home.plan());
    let voters = stage.until("a status", |view| Some(view.voters().join(" "))).await?;
    stage.report.check("the voters, also while two of them do not run", &all, voters).await;
    for node in two {
        stage.report.command(&start_command(node)).await;
    }
    let before = stage.now();
    for node in two {
        stage.nodes.start(node)?;
    }
    let Leader { plan: leader, term } = stage.leader().await?;
    stage.all_have_applied().await?;
    let follows = format!("follows {}, the leader of term {term}", leader.name);
    let registered = stage.until_told(&before, two, 1, |line| line.ends_with(&follows)).await?;
    let told = stage.told(&before, two, is_no_heartbeat)?;
    stage.show("What the two tell:", &told).await;
    show_status(stage).await?;
    let who = names(two.iter().filter(|node| registered.iter().any(|told| told.node == node.name)));
    stage.report.check(&format!("who of them registered with {}", leader.name), names(two), who).await;
    stage.report.check("who runs", all, names(&stage.running())).await;
    stage.report.end_step().await
}

async fn one_that_came_back_redirects(stage: &mut Stage, asked: &Plan) -> Result<(), Failure> {
    stage.report.step("At one that has just come back, until executed: enqueue U, W, U").await;
    let leader = stage.leader().await?;
    for text in ["U", "W", "U"] {
        until_executed(&mut stage.report, asked, &leader.plan, text, stage.patience.wait).await?;
    }
    stage.report.end_step().await
}

async fn all_logs_are_the_same(stage: &mut Stage) -> Result<(), Failure> {
    stage.report.step("The log, at the leader and at every node; and what is left in the queue").await;
    let commit = stage.all_have_applied().await?;
    let leader = stage.leader().await?.plan;
    let client = client_of(&leader, stage.patience.wait)?;
    stage.report.command(&client_command("log", &leader)).await;
    let log = leaders_log(&client, commit).await?;
    stage.report.say(&log_text(&log)).await;
    let whole = format!("every entry from 1 to {commit}");
    stage.report.check("the leader's log", &whole, gap(&log, commit).unwrap_or_else(|| whole.clone())).await;
    compare_with_all(stage, &leader, &log).await?;

    stage.report.command(&client_command(&format!("peek {QUEUE} --limit 100"), &leader)).await;
    let messages = client.peek(QUEUE, 100).await?.value;
    let left: Vec<_> = messages.iter().map(text).collect();
    stage.report.check("what is left in the queue", LEFT.join(" "), left.join(" ")).await;
    stage.all_go_on().await?;
    stage.report.check("who runs at the end", names(stage.home.plan()), names(&stage.running())).await;
    stage.report.end_step().await
}

/// Compares the leader's log with the one that each node has on its own disk.
async fn compare_with_all(stage: &mut Stage, leader: &Plan, log: &[v1::LogEntry]) -> Result<(), Failure> {
    let last = log.len() as u64;
    let same = format!("the same {last} entries as {}", leader.name);
    for node in stage.home.plan().to_vec() {
        stage.report.command(&client_command("log --stale", &node)).await;
    }
    stage
        .report
        .say(&format!("Each node's own log; = is an entry like that of {} in index, term and content:", leader.name))
        .await;
    for node in stage.home.plan().to_vec() {
        let Compared { marks, difference } = compare(log, &read_log(&node, last, stage.patience.wait).await?);
        stage.report.told(node.name, &marks).await;
        let got = difference.unwrap_or_else(|| same.clone());
        stage.report.check(&format!("the log of {}", node.name), &same, got).await;
    }
    Ok(())
}

async fn show_status(stage: &mut Stage) -> Result<(), Failure> {
    let running = stage.running();
    let addresses: Vec<String> = running.iter().map(Plan::address).collect();
    stage.report.command(&format!("{} status --endpoints {}", program(), addresses.join(","))).await;
    let status = stage.until("a status", |view| Some(status_text(view.nodes()))).await?;
    stage.report.say(&status).await;
    Ok(())
}

/// All entries up to `last`, as the leader has them.
async fn leaders_log(client: &Client, last: u64) -> Result<Vec<v1::LogEntry>, Failure> {
    let mut pages = client.request_log(0, last);
    let mut entries = Vec::new();
    while let Some(page) = pages.next().await? {
        entries.extend(page.entries);
    }
    Ok(entries)
}

fn client_of(node: &Plan, patience: Duration) -> Result<Client, Failure> {
    Ok(Client::new(vec![node.address()], Options { timeout: Some(patience), ..Options::default() })?)
}

fn start_command(node: &Plan) -> String {
    format!("{} {} --show-heartbeats", program(), node.arguments().join(" "))
}

fn stop_command(stage: &Stage, how: Stop, nodes: &[Plan; 2]) -> String {
    let processes = stage.nodes.processes();
    let [leader, other] = nodes.each_ref().map(|node| node.name);
    format!("{} {} {}   # {leader}, which leads, and {other}", how.command(), processes[leader], processes[other])
}

fn client_command(command: &str, node: &Plan) -> String {
    format!("{} {command} --endpoints {}", program(), node.address())
}

fn text(message: &v1::StoredMessage) -> &str {
    match message.message.as_ref().and_then(|message| message.body.as_ref()) {
        Some(Body::Text(text)) => text,
        Some(Body::Data(_)) | None => "no text",
    }
}

/// The first lines of each node: on a slow network those of some nodes come late, behind many of the others.
fn first_of_each(told: Vec<Told>, count: usize) -> Vec<Told> {
    let mut shown = BTreeMap::new();
    let is_among_first = |told: &Told| {
        let shown = shown.entry(told.node).or_insert(0);
        *shown += 1;
        *shown <= count
    };
    told.into_iter().filter(is_among_first).collect()
}

fn is_about_membership(line: &str) -> bool {
    line.contains(APPLIES) || line.contains("takes on the ")
}

fn is_hand_over(line: &str) -> bool {
    line.contains("hands leadership over to ")
}

fn is_about_elections(line: &str) -> bool {
    ["becomes ", "vote", "follows "].iter().any(|words| line.contains(words))
}

/// What each node tells at most a few times of one term, until it has a leader: that it campaigns, votes and follows. Pre-votes
/// are repeated until they are won.
fn is_about_votes_in(line: &str, term: u64) -> bool {
    let Some((what, rest)) = line.split_once(" term ") else { return false };
    let is_pre_vote = what.contains("pre-") || what.contains("would vote ");
    !is_pre_vote && rest.split([' ', ';']).next() == Some(term.to_string().as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_each_node_the_first_lines_are_shown_however_many_others_tell_meanwhile() {
        let told = |node, line: &str| Told { node, line: line.to_owned() };
        let all = vec![told("a", "1"), told("a", "2"), told("a", "3"), told("b", "4"), told("a", "5")];
        assert_eq!(first_of_each(all, 2), [told("a", "1"), told("a", "2"), told("b", "4")]);
    }

    /// However long the rest is: it is not among what is shown of the term that had a winner.
    #[test]
    fn the_votes_of_a_term_are_told_from_pre_votes_and_from_those_of_other_terms() {
        let won = [
            "becomes candidate of term 4 because the pre-vote was won",
            "asks for votes in term 4; its last entry is 32@2",
            "becomes follower of term 4 because a candidate of a later term asks for votes",
            "votes for c in term 4",
            "has the vote of b in term 4",
            "becomes leader of term 4 because a majority voted for it",
            "follows c, the leader of term 4",
        ];
        let rest = [
            "becomes pre-candidate of term 4 because no leader is known",
            "asks for pre-votes in term 4; its last entry is 32@2",
            "would vote for c in term 4",
            "has the pre-vote of b in term 4",
            "asks for votes in term 3; its last entry is 32@4",
            "has the vote of b in term 40",
            "refuses its vote to e: the vote of this term is given to another",
        ];
        let is_shown = |words: &&str| is_about_votes_in(&format!("20:54:42.281 INFO  {words}"), 4);
        assert_eq!(won.iter().copied().filter(|words| is_shown(words)).collect::<Vec<_>>(), won);
        assert_eq!(rest.iter().copied().find(|words| is_shown(words)), None);
    }
}
