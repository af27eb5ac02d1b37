//! One message at a node that does not lead, until it is executed.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::report::Report;
use super::stage::QUEUE;
use crate::cli::client_commands::id_text;
use crate::cli::local_cluster::home::Plan;
use crate::cli::local_cluster::program;
use crate::cli::{Exit, Failure};
use crate::client::{self, Body, Client, Event, Options, Refused};
use crate::proto::v1;
use crate::proto::v1::operation::Operation as Verb;
use crate::reasons;

/// Enqueues `text` at the node `asked`: shows its own answer, and then how the client gets to the leader; checks both.
pub(super) async fn until_executed(
    report: &mut Report,
    asked: &Plan,
    leader: &Plan,
    text: &str,
    patience: Duration,
) -> Result<(), Failure> {
    report.command(&format!("{} enqueue {QUEUE} {text} --endpoints {} -v", program(), asked.address())).await;
    let no = rejection(asked, text, patience).await?;
    let named = no.metadata.get(reasons::LEADER_ADDRESS).map_or("nobody", String::as_str);
    report.say(&format!("{} answers {}: {no} (leader_address {named})", asked.name, no.reason)).await;

    let (events, id) = enqueue(asked, text, patience).await?;
    for event in &events {
        report.say(&event.to_string()).await;
    }
    report.say(&format!("executed: message {id}")).await;

    let address = leader.address();
    let redirected = events.iter().rev().find_map(redirected_to).unwrap_or("nobody");
    let expected = format!("NOT_LEADER naming {address}, redirected to {address}, executed");
    let got = format!("{} naming {named}, redirected to {redirected}, executed", no.reason);
    report.check(&format!("\"{text}\" at {}", asked.name), expected, got).await;
    Ok(())
}

/// What a node that does not lead answers. One that has just come back may first have to hear who leads.
async fn rejection(asked: &Plan, text: &str, patience: Duration) -> Result<Refused, Failure> {
    let client = Client::new(vec![asked.address()], Options { timeout: Some(patience), ..Options::default() })?;
    let message = Some(Body::Text(text.to_owned()).into());
    let operation = Verb::Enqueue(v1::Enqueue { queue: QUEUE.to_owned(), message, delay: None });
    let operations = vec![v1::Operation { operation: Some(operation) }];
    let deadline = Instant::now() + patience;
    loop {
        match client.execute_once(operations.clone()).await {
            Err(client::Error::Refused(no)) if no.reason == reasons::NO_LEADER && Instant::now() < deadline => {
                sleep(Duration::from_millis(50)).await;
            }
            Err(client::Error::Refused(no)) => return Ok(no),
            Err(error) => return Err(error.into()),
            Ok(_) => {
                let error = format!("{} executed the request by itself: it leads by now", asked.name);
                return Err(Failure::new(Exit::Failed, error));
            }
        }
    }
}

/// Enqueues with a client that knows this node only. What the client met on its way, and the id of the message.
async fn enqueue(asked: &Plan, text: &str, patience: Duration) -> Result<(Vec<Event>, String), Failure> {
    let events = Arc::new(Mutex::new(Vec::new()));
    let heard = events.clone();
    let observer = move |event: &Event| heard.lock().unwrap_or_else(PoisonError::into_inner).push(event.clone());
    let options = Options { timeout: Some(patience), observer: Some(Arc::new(observer)), ..Options::default() };
    let client = Client::new(vec![asked.address()], options)?;
    let ids = client.enqueue(QUEUE, vec![Body::Text(text.to_owned())]).await;
    client.close().await;
    let events = events.lock().unwrap_or_else(PoisonError::into_inner).clone();
    Ok((events, id_texts(&ids?)))
}

/// Ids as the commands print them.
pub(super) fn id_texts(ids: &[v1::MessageId]) -> String {
    ids.iter().map(|id| id_text(Some(id))).collect::<Vec<_>>().join(" ")
}

fn redirected_to(event: &Event) -> Option<&str> {
    match event {
        Event::Redirected { to, .. } => Some(to),
        _ => None,
    }
}
