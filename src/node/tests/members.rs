//! Who may become a member, and what of that is refused.

use super::*;

#[tokio::test]
async fn membership_changes_that_cannot_be_are_refused() {
    let directory = TempDir::new().unwrap();
    let node = start_alone(directory.path()).await;
    let mut client = cluster(&node).await;
    let member = |name: &str, node_id: &str| v1::Member {
        node_id: node_id.to_owned(),
        name: name.to_owned(),
        client_address: "127.0.0.1:1".to_owned(),
        peer_address: "127.0.0.1:2".to_owned(),
        ..Default::default()
    };
    let add = |member| v1::AddMemberRequest { member: Some(member), stay_learner: false };

    let taken = client.add_member(add(member("a", "00000000000000aa"))).await.unwrap_err();
    assert_eq!((taken.code(), reason(&taken)), (Code::AlreadyExists, reasons::NAME_TAKEN.to_owned()));
    let wrong = client.add_member(add(member("b", "aa"))).await.unwrap_err();
    assert_eq!((wrong.code(), reason(&wrong)), (Code::InvalidArgument, reasons::INVALID_REQUEST.to_owned()));
    let nobody = v1::RemoveMemberRequest { members: vec!["nobody".to_owned()] };
    let nobody = client.remove_member(nobody).await.unwrap_err();
    assert_eq!((nobody.code(), reason(&nobody)), (Code::NotFound, reasons::MEMBER_NOT_FOUND.to_owned()));
    let last = client.remove_member(v1::RemoveMemberRequest { members: vec!["a".to_owned()] }).await.unwrap_err();
    assert_eq!((last.code(), reason(&last)), (Code::FailedPrecondition, reasons::WOULD_LOSE_QUORUM.to_owned()));

    assert_eq!(last.get_details_error_info().unwrap().metadata[reasons::MEMBER], node.handle.node().to_string());

    // A learner that never comes can be removed again, and then its id is used up.
    let added = client.add_member(add(member("b", "00000000000000bb"))).await.unwrap().into_inner();
    assert_eq!(added.members.len(), 2);
    let again = client.add_member(add(member("b", "00000000000000bb"))).await.unwrap().into_inner();
    assert_eq!(again.members, added.members);
    let absent = v1::PromoteMemberRequest { member: "b".to_owned() };
    let absent = client.promote_member(absent).await.unwrap_err();
    assert_eq!((absent.code(), reason(&absent)), (Code::FailedPrecondition, reasons::WOULD_LOSE_QUORUM.to_owned()));
    client.remove_member(v1::RemoveMemberRequest { members: vec!["b".to_owned()] }).await.unwrap();
    let removed = client.add_member(add(member("b", "00000000000000bb"))).await.unwrap_err();
    assert_eq!((removed.code(), reason(&removed)), (Code::FailedPrecondition, reasons::MEMBER_REMOVED.to_owned()));
    node.stop().await.unwrap();
}

/// Whoever leaves must not take for done what is not committed and could still be lost.
#[tokio::test]
async fn a_removal_that_is_not_committed_is_not_told_as_done() {
    let directory = TempDir::new().unwrap();
    // The leader leads on for so long without the other voter.
    let slow = |name: &str, join: &[&Running]| {
        let mut config = config(name, directory.path(), join);
        set_timeouts(&mut config, Duration::from_secs(5));
        config
    };
    let a = start_node(slow("a", &[])).await;
    eventually("the only node to lead", async || execute(&a, vec![list()]).await.ok()).await;
    let b = start_node(slow("b", &[&a])).await;
    let mut client = cluster(&a).await;
    let members = async |client: &mut ClusterClient<Channel>| {
        client.list_members(v1::ListMembersRequest {}).await.unwrap().into_inner().members
    };
    eventually("b to vote", async || {
        let votes = |member: &v1::Member| member.name == "b" && member.membership() == v1::Membership::Voter;
        members(&mut client).await.iter().any(votes).then_some(())
    })
    .await;
    let (client_address, peer_address) = ("127.0.0.1:1".to_owned(), "127.0.0.1:2".to_owned());
    let (node_id, name) = ("00000000000000cc".to_owned(), "c".to_owned());
    let c = v1::Member { node_id, name, client_address, peer_address, ..Default::default() };
    let add = v1::AddMemberRequest { member: Some(c), stay_learner: true };
    eventually("c to be let in", async || client.add_member(add.clone()).await.ok()).await;
    b.stop().await.unwrap();
    let remove = || v1::RemoveMemberRequest { members: vec!["c".to_owned()] };
    let first = tokio::spawn({
        let mut client = client.clone();
        async move { client.remove_member(remove()).await }
    });
    eventually("c to be left out", async || {
        members(&mut client).await.iter().all(|member| member.name != "c").then_some(())
    })
    .await;
    let again = client.remove_member(remove()).await.unwrap_err();
    assert_eq!(reason(&again), reasons::CHANGE_IN_PROGRESS, "{again}");
    first.abort();
    a.stop().await.unwrap();
}

/// Who answers at the address of a member can be another node: then the member is dead, and its name can be taken over.
#[tokio::test]
async fn another_node_at_the_address_of_a_member_is_not_that_member() {
    let directory = TempDir::new().unwrap();
    let node = start_alone(directory.path()).await;
    let mut client = cluster(&node).await;
    let mut add = async |name: &str, node_id: &str, peer_address: String| {
        let (name, node_id, client_address) = (name.to_owned(), node_id.to_owned(), "127.0.0.1:1".to_owned());
        let member = v1::Member { node_id, name, client_address, peer_address, ..Default::default() };
        let added = client.add_member(v1::AddMemberRequest { member: Some(member), stay_learner: false }).await;
        added.map(|added| added.into_inner().members.len()).map_err(|refused| reason(&refused))
    };
    assert_eq!(add("b", "00000000000000bb", node.peer_address.to_string()).await, Ok(2));
    assert_eq!(add("b", "00000000000000cc", "127.0.0.1:2".to_owned()).await, Ok(3));
    node.stop().await.unwrap();
}

#[tokio::test]
async fn a_client_cannot_move_a_member() {
    let directory = TempDir::new().unwrap();
    let node = start_alone(directory.path()).await;
    let mut client = cluster(&node).await;
    let before = client.list_members(v1::ListMembersRequest {}).await.unwrap().into_inner().members;
    let elsewhere = v1::Member {
        client_address: "127.0.0.1:1".to_owned(),
        peer_address: "127.0.0.1:2".to_owned(),
        address_version: 99,
        ..before[0].clone()
    };
    let again = v1::AddMemberRequest { member: Some(elsewhere), stay_learner: false };
    assert_eq!(client.add_member(again).await.unwrap().into_inner().members, before);
    node.stop().await.unwrap();
}

#[tokio::test]
async fn a_node_with_the_name_of_a_living_member_is_told_so_and_ends() {
    let directory = TempDir::new().unwrap();
    let a = start_alone(directory.path()).await;
    let other = TempDir::new().unwrap();
    let mut twin = start(config("a", other.path(), &[&a]), Telemetry::default()).await.unwrap();
    let ended = tokio::time::timeout(PATIENCE, twin.wait()).await.unwrap().unwrap_err();
    assert!(ended.to_string().contains("the name 'a' belongs to node"), "{ended}");
    a.stop().await.unwrap();
}

#[tokio::test]
async fn a_node_that_applies_in_vain_says_what_it_is_and_stops_when_told() {
    let directory = TempDir::new().unwrap();
    let mut lonely = config("b", directory.path(), &[]);
    lonely.cluster.join = vec!["127.0.0.1:1".parse().unwrap()];
    let lonely = start(lonely, Telemetry::default()).await.unwrap();
    let nodes = statuses(&lonely).await;
    assert!(nodes.iter().all(|node| node.role() == v1::Role::Outsider), "{nodes:?}");
    let refused = execute(&lonely, vec![list()]).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused)), (Code::Unavailable, reasons::NO_LEADER.to_owned()));
    tokio::time::timeout(PATIENCE, lonely.stop()).await.unwrap().unwrap();
}
