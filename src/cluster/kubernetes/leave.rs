//! What a pod does that is told to stop. Several stop together when a StatefulSet shrinks, and each asks for the same: that
//! everybody goes who is left out, in one change.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use super::desired::{Desired, OnStop, on_stop};
use super::{Pod, Told};
use crate::client::{self, Client};
use crate::cluster::names;
use crate::ids::{NodeId, SHARD_0};
use crate::reasons;

/// Of the time that there is so much is for the question how many replicas there are to be, each time: a third.
const ASKING_PART: u32 = 3;

/// An answer to that counts for so long at most: then the number may be another.
const ATTEMPT_MAX: Duration = Duration::from_secs(3);

/// Before it is asked for again what was refused.
const PAUSE: Duration = Duration::from_millis(300);

/// Leaves the cluster, if the StatefulSet leaves this pod out, and for as long as it does; within `patience`.
pub(super) async fn leave(pod: &Pod, patience: Duration) {
    if !is_member(pod) {
        return;
    }
    let (end, asking_max) = (Instant::now() + patience, patience / ASKING_PART);
    let (mut told, mut refused) = (Told::default(), "nobody was asked".to_owned());
    loop {
        let Some(desired) = left_out_by(pod, remaining(end).min(asking_max), &mut told).await else { return };
        let left = remaining(end);
        // Has everybody removed who is left out, this node among them.
        match ask_once(pod, &desired, left.min(ATTEMPT_MAX)).await {
            Ok(names) => return tracing::info!("has left the cluster: {} removed", are(&names)),
            Err(why) => refused = if left.is_zero() { refused } else { why },
        }
        if remaining(end) <= PAUSE {
            return tracing::warn!(
                "stops and stays a member, because it could not leave in time: {refused}; the leader removes it when it is \
                 gone, or `quorate member remove {}` does",
                pod.own_name()
            );
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// What the StatefulSet asks for at this moment, if that leaves this pod out. What follows from it is told when it changes.
async fn left_out_by(pod: &Pod, patience: Duration, told: &mut Told) -> Option<Desired> {
    let answer = pod.api.desired(patience).await;
    let name = pod.own_name();
    match (on_stop(&pod.set, pod.ordinal, &answer), answer) {
        (OnStop::Leave(why), Ok(desired)) => {
            if told.is_news(&why) {
                tracing::info!("leaves the cluster for good, because {why}");
            }
            return Some(desired);
        }
        (OnStop::Stay(why), _) => tracing::info!("stops and stays a member, because {why}"),
        (OnStop::Leave(why) | OnStop::Unknown(why), _) => tracing::warn!(
            "stops and stays a member, because {why}; hint: if it is not to come back, `quorate member remove {name}`"
        ),
    }
    None
}

fn remaining(end: Instant) -> Duration {
    end.saturating_duration_since(Instant::now())
}

async fn ask_once(pod: &Pod, desired: &Desired, patience: Duration) -> Result<Vec<String>, String> {
    let own = pod.tools.handle.node();
    let (mut ids, mut names) = (vec![own.to_string()], vec![pod.own_name()]);
    for (node, name) in pod.left_out(desired).into_iter().filter(|(node, _)| *node != own) {
        ids.push(node.to_string());
        names.push(name);
    }
    let options = client::Options { timeout: Some(patience), ..Default::default() };
    let client = Client::new(whom_to_ask(pod), options).map_err(|error| error.to_string())?;
    match client.remove_members(&ids).await {
        Ok(_) => Ok(names),
        // The others have had it done.
        Err(client::Error::Refused(no)) if no.reason == reasons::MEMBER_NOT_FOUND => {
            match client.remove_members(&ids[..1]).await {
                Ok(_) => Ok(vec![pod.own_name()]),
                Err(client::Error::Refused(no)) if no.reason == reasons::MEMBER_NOT_FOUND => Ok(vec![pod.own_name()]),
                Err(error) => Err(error.to_string()),
            }
        }
        Err(error) => Err(error.to_string()),
    }
}

/// The client addresses of the members: that of the leader first, and the own one last. The own name may not resolve any more.
fn whom_to_ask(pod: &Pod) -> Vec<String> {
    let own = pod.tools.handle.node();
    let seen = pod.tools.handle.look(SHARD_0, |status| (status.leader, status.membership.configuration.clone()));
    let Some((leader, configuration)) = seen else { return Vec::new() };
    let mut members: Vec<NodeId> = configuration.members().collect();
    members.sort_by_key(|node| (Some(*node) != leader, *node == own));
    let address_of = |node: NodeId| match node == own {
        true => Some(reached_from_here(pod.tools.client_address).to_string()),
        false => pod.tools.book.get(node).map(|contact| contact.client_address),
    };
    members.into_iter().filter_map(address_of).collect()
}

/// Where the node reaches itself that listens there.
fn reached_from_here(mut address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    address
}

fn is_member(pod: &Pod) -> bool {
    let own = pod.tools.handle.node();
    let is_member =
        |status: &crate::replica::Status| status.removed.is_none() && status.membership.configuration.is_member(own);
    pod.tools.handle.look(SHARD_0, is_member).unwrap_or(false)
}

fn are(names: &[String]) -> String {
    format!("{} {}", names::all(names), if names.len() == 1 { "is" } else { "are" })
}

impl Pod {
    fn own_name(&self) -> String {
        format!("{}-{}", self.set, self.ordinal)
    }
}
