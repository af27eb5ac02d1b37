//! Each rule, and the words in which a node says what it waits for.

use super::*;

const T1: ClusterId = ClusterId(0x71);
const T2: ClusterId = ClusterId(0x72);
const DRAW: ClusterId = ClusterId(0xd);
const NOBODY: [u64; 0] = [];

fn contact(node: u64, name: &str) -> Contact {
    Contact {
        node: NodeId(node),
        name: name.to_owned(),
        client_address: format!("{name}:7400"),
        peer_address: format!("{name}:7401"),
        version: 1,
    }
}

/// A node that starts a cluster of three with others, and has promised nothing.
fn standing(node: u64, name: &str) -> Standing {
    Standing { node: contact(node, name), cluster: None, applies: false, former: None, size: Some(3), promise: None }
}

fn own(standing: Standing) -> Own {
    Own { standing, lost: Vec::new(), commit_quorum: CommitQuorum::Majority }
}

/// The founders are q-0, q-1 and q-2 under the given ids; the first proposes.
fn proposal(cluster: ClusterId, attempt: u64, ids: [u64; 3]) -> Proposal {
    let mut founders: Vec<Contact> =
        ids.iter().enumerate().map(|(ordinal, id)| contact(*id, &format!("q-{ordinal}"))).collect();
    founders.sort_by_key(|founder| founder.node);
    Proposal { cluster, proposer: NodeId(ids[0]), attempt, founders, commit_quorum: CommitQuorum::Majority }
}

fn promised(mut standing: Standing, promise: &Proposal) -> Standing {
    standing.promise = Some(promise.clone());
    standing
}

fn member(mut standing: Standing, proposal: &Proposal) -> Standing {
    standing.cluster = Some(proposal.cluster);
    promised(standing, proposal)
}

/// These answer, each at its own address; nobody is silent.
fn round(standings: &[Standing]) -> Round {
    let heard = standings.iter().map(|standing| (standing.node.client_address.clone(), Ok(standing.clone()))).collect();
    Round { heard, ..Round::default() }
}

fn silent(mut round: Round, address: &str) -> Round {
    round.heard.insert(address.to_owned(), Err("connection refused".to_owned()));
    round
}

fn waits(own: &Own, round: &Round) -> String {
    match next_step(own, round, DRAW) {
        Step::Wait(reason) => reason,
        step => panic!("it does not wait: {step:?}"),
    }
}

fn three() -> [Standing; 3] {
    [standing(30, "q-0"), standing(10, "q-1"), standing(20, "q-2")]
}

#[test]
fn the_first_name_proposes_when_all_have_answered_and_all_are_empty() {
    let [q0, q1, q2] = three();
    let expected = proposal(DRAW, 1, [30, 10, 20]);
    let all = round(&[q0.clone(), q1.clone(), q2.clone()]);
    assert_eq!(
        next_step(&own(q0.clone()), &all, DRAW),
        Step::Propose(expected.clone()),
        "its own answer does not matter"
    );
    assert_eq!(next_step(&own(q0.clone()), &round(&[q1.clone(), q2.clone()]), DRAW), Step::Propose(expected.clone()));
    assert_eq!(waits(&own(q1.clone()), &all), "waits for q-0 to propose a cluster, as all have answered");
    let reason = "has promised to start cluster 0000000000000000000000000000000d, and waits for q-0 to start it";
    assert_eq!(waits(&own(promised(q1, &expected)), &all), reason);
}

#[test]
fn without_ordinals_the_list_counts_and_the_first_name_proposes() {
    let [a, b, c] = [standing(9, "a"), standing(1, "b"), standing(5, "c")];
    let all = round(&[a.clone(), b.clone(), c.clone()]);
    let Step::Propose(proposal) = next_step(&own(a.clone()), &all, DRAW) else { panic!("a does not propose") };
    let nodes: Vec<u64> = proposal.founders.iter().map(|founder| founder.node.0).collect();
    assert_eq!((proposal.proposer, nodes), (NodeId(9), vec![1, 5, 9]));
    assert!(promise(&own(b.clone()), &proposal).is_ok());
    assert_eq!(waits(&own(b.clone()), &all), "waits for a to propose a cluster, as all have answered");
    let two = silent(round(std::slice::from_ref(&b)), "c:7400");
    assert_eq!(
        waits(&own(a.clone()), &two),
        "waits for 1 more of the 3 nodes that start a cluster together: so far there are a and b; no answer from c:7400 \
         (connection refused)"
    );
    let four = round(&[b.clone(), c, standing(7, "d")]);
    assert_eq!(
        waits(&own(a.clone()), &four),
        "4 nodes answer and bootstrap.size is 3, so that it is not clear which of them start the cluster: a, b, c and 1 more"
    );
    let found = Round { discovers: true, ..all };
    assert_eq!(
        waits(&own(a), &found),
        "waits for a cluster to join: as its name \"a\" does not end in an ordinal, such as a-0, it cannot start one with nodes \
         that a DNS name resolves to"
    );
}

/// Who might know of a cluster, or does not answer, keeps everybody from starting one.
#[test]
fn no_cluster_is_started_beside_one_that_there_may_be() {
    let [q0, q1, q2] = three();
    let change = |change: fn(&mut Standing)| {
        let mut q2 = q2.clone();
        change(&mut q2);
        round(&[q1.clone(), q2])
    };
    let stranger = |name: &str| round(&[q1.clone(), q2.clone(), standing(7, name)]);
    let unresolved = Some("quorate-peers does not resolve (no such host)".to_owned());
    let rounds = [
        (round(&[]), "waits for q-1 and q-2 to start a cluster together"),
        (
            silent(round(std::slice::from_ref(&q1)), "10.0.0.3:7400"),
            "waits for q-2 to start a cluster together; no answer from 10.0.0.3:7400 (connection refused)",
        ),
        (
            silent(round(&[q1.clone(), q2.clone()]), "10.0.0.9:7400"),
            "waits until all have answered, as who does not may belong to a cluster: no answer from 10.0.0.9:7400 (connection \
             refused)",
        ),
        (
            Round { incomplete: unresolved, ..round(&[q1.clone(), q2.clone()]) },
            "waits until all have answered, as who does not may belong to a cluster: quorate-peers does not resolve (no such \
             host)",
        ),
        (
            change(|q2| q2.applies = true),
            "q-2 at q-2:7400 has applied to a cluster that does not answer: waits for that cluster",
        ),
        (
            change(|q2| q2.former = Some(T1)),
            "q-2 at q-2:7400 was removed from cluster 00000000000000000000000000000071: waits for that cluster, or for it to go",
        ),
        (change(|q2| q2.size = Some(5)), "q-2 at q-2:7400 has bootstrap.size 5 and this node 3: they must be the same"),
        (change(|q2| q2.size = None), "q-2 at q-2:7400 has no bootstrap.size and this node 3: they must be the same"),
        (
            stranger("other-1"),
            "the node at other-1:7400 is called \"other-1\" and this one \"q-0\": which nodes start a cluster together is not \
             clear",
        ),
        (
            stranger("b"),
            "the node at b:7400 is called \"b\" and this one \"q-0\": which nodes start a cluster together is not clear",
        ),
    ];
    for (round, reason) in rounds {
        assert_eq!(waits(&own(q0.clone()), &round), reason);
    }
    let mut twins = round(&[q1.clone(), q2.clone()]);
    twins.heard.insert("a:1".to_owned(), Ok(standing(7, "q-1")));
    let reason =
        "two nodes are called \"q-1\", the one at a:1 and the one at q-1:7400: one must get another name or go";
    assert_eq!(waits(&own(q0.clone()), &twins), reason);
    twins.heard.insert("a:1".to_owned(), Ok(standing(7, "q-0")));
    let reason = "two nodes are called \"q-0\", this node and the one at a:1: one must get another name or go";
    assert_eq!(waits(&own(q0.clone()), &twins), reason);
    // A node beyond the first three is no founder and hinders nobody.
    let more = round(&[q1.clone(), q2.clone(), standing(7, "q-3")]);
    assert!(matches!(next_step(&own(q0), &more, DRAW), Step::Propose(_)));
}

#[test]
fn who_may_not_start_a_cluster_waits_for_one() {
    let [q0, q1, q2] = three();
    let others = round(&[q1, q2]);
    let change = |change: fn(&mut Standing)| {
        let mut q0 = q0.clone();
        change(&mut q0);
        waits(&own(q0), &others)
    };
    assert_eq!(change(|q0| q0.size = None), "waits for a cluster to join: nobody who answers belongs to one");
    assert_eq!(change(|q0| q0.applies = true), "waits for the cluster that it has applied to");
    assert_eq!(
        change(|q0| q0.former = Some(T1)),
        "waits for a cluster to join, as it was removed from cluster 00000000000000000000000000000071 and starts none itself"
    );
    assert_eq!(
        change(|q0| q0.node.name = "q-3".into()),
        "waits for a cluster to join: q-0, q-1 and q-2 start one together"
    );
}

#[test]
fn a_cluster_is_joined_through_those_who_belong_to_it() {
    let [q0, q1, q2] = three();
    let formed = proposal(T1, 1, [30, 10, 20]);
    let join = |cluster, addresses: &[&str]| Step::Join {
        cluster,
        addresses: addresses.iter().map(|address| (*address).to_owned()).collect(),
    };
    let cluster = silent(round(&[member(q1.clone(), &formed), q2.clone()]), "a:1");
    for newcomer in [standing(40, "q-0"), standing(40, "q-7"), standing(40, "a"), Standing { size: None, ..q0.clone() }]
    {
        assert_eq!(next_step(&own(newcomer), &cluster, DRAW), join(T1, &["q-1:7400"]));
    }
    let applied = Standing { applies: true, ..promised(q0.clone(), &formed) };
    assert_eq!(next_step(&own(applied), &cluster, DRAW), join(T1, &["q-1:7400"]), "who has applied forms nothing");
    let two = round(&[member(q1, &formed), member(q2, &proposal(T2, 1, [30, 10, 20]))]);
    assert_eq!(
        waits(&own(q0), &two),
        "nodes of several clusters answer, and which of them to join is not clear: 00000000000000000000000000000071 at q-1:7400 \
         and 00000000000000000000000000000072 at q-2:7400"
    );
}

/// A DNS name can be that of another StatefulSet, or of several.
#[test]
fn who_finds_others_by_dns_joins_no_strangers() {
    let formed = proposal(T1, 1, [30, 10, 20]);
    let at = |mut standing: Standing, address: &str| {
        standing.node.client_address = address.to_owned();
        standing
    };
    let found = |standings: &[Standing]| Round { discovers: true, ..round(standings) };
    let newcomer = own(at(standing(40, "q-0"), "q-0.peers.one:7400"));
    let other_name = at(member(standing(10, "p-1"), &formed), "p-1.peers.one:7400");
    let elsewhere = at(member(standing(10, "q-1"), &formed), "q-1.peers.two:7400");
    for (stranger, told) in [
        (&other_name, "the one at p-1.peers.one:7400 is called \"p-1\", of p-1.peers.one:7400"),
        (&elsewhere, "the one at q-1.peers.two:7400 is called \"q-1\", of q-1.peers.two:7400"),
    ] {
        let strangers = found(std::slice::from_ref(stranger));
        assert_eq!(
            waits(&newcomer, &strangers),
            format!(
                "does not join a cluster of strangers: this node is called \"q-0\", of q-0.peers.one:7400, and {told}; if it is the \
                 right one, list an address of it in cluster.join"
            )
        );
        let address = stranger.node.client_address.clone();
        let listed = Round { listed: BTreeSet::from([address.clone()]), ..strangers };
        let join = Step::Join { cluster: T1, addresses: vec![address] };
        assert_eq!(next_step(&newcomer, &listed, DRAW), join, "the list says that it is meant");
    }
    let member_of_both = at(member(standing(20, "q-2"), &formed), "q-2.peers.one:7400");
    let one_is_kin = found(&[elsewhere.clone(), member_of_both]);
    assert!(matches!(next_step(&newcomer, &one_is_kin, DRAW), Step::Join { cluster: T1, .. }));
    let kin = at(member(standing(20, "q-2"), &proposal(T2, 1, [30, 10, 20])), "q-2.peers.one:7400");
    assert!(matches!(next_step(&newcomer, &found(&[elsewhere, kin]), DRAW), Step::Join { cluster: T2, .. }));
}

#[test]
fn what_was_promised_is_formed_once_another_has_formed_it() {
    let [q0, q1, q2] = three();
    let (first, second) = (proposal(T1, 1, [30, 10, 20]), proposal(T2, 2, [30, 10, 20]));
    let heard = silent(round(&[member(q0.clone(), &first)]), "q-2:7400");
    assert_eq!(next_step(&own(promised(q1.clone(), &first)), &heard, DRAW), Step::Form(first.clone()));
    let both = round(&[member(q0.clone(), &first), member(q2.clone(), &second)]);
    assert_eq!(next_step(&own(promised(q1.clone(), &first)), &both, DRAW), Step::Form(first.clone()));

    // Another cluster, and the promised one may have formed where nobody answers.
    let foreign = proposal(T2, 1, [1, 2, 3]);
    let stranger = member(standing(2, "s-1"), &foreign);
    let some = silent(round(&[stranger.clone(), q2.clone()]), "q-0:7400");
    assert_eq!(
        waits(&own(promised(q1.clone(), &first)), &some),
        "it has promised to start cluster 00000000000000000000000000000071, and nodes of cluster \
         00000000000000000000000000000072 answer: waits until all have answered; no answer from q-0:7400 (connection refused)"
    );
    let all = round(&[stranger, q0.clone(), q2]);
    assert!(matches!(next_step(&own(promised(q1, &first)), &all, DRAW), Step::Join { cluster: T2, .. }));
    // Nobody forms before the one that proposes.
    assert!(matches!(next_step(&own(promised(q0, &first)), &some, DRAW), Step::Join { cluster: T2, .. }));
}

/// q-0 lost its disk while q-1 formed what it had proposed, and q-2 has promised the other one since.
#[test]
fn a_founder_forms_what_another_has_formed_though_it_promised_again() {
    let [_, q1, q2] = three();
    let (first, second) = (proposal(T1, 1, [30, 10, 20]), proposal(T2, 1, [31, 10, 20]));
    let q0 = promised(standing(31, "q-0"), &second);
    let heard = round(&[q0.clone(), member(q1.clone(), &first)]);
    assert_eq!(next_step(&own(promised(q2.clone(), &second)), &heard, DRAW), Step::Form(first.clone()));
    assert!(matches!(next_step(&own(q0), &round(&[member(q1, &first)]), DRAW), Step::Join { cluster: T1, .. }));
    // What a lost disk had proposed came late, after the one that has its name had started a cluster.
    let heard = round(&[member(standing(30, "q-0"), &first), standing(10, "q-1")]);
    assert_eq!(next_step(&own(promised(q2.clone(), &second)), &heard, DRAW), Step::Form(first.clone()));
    // From anybody else who is no founder of what was promised last, that does not follow.
    let other = proposal(T2, 1, [31, 11, 20]);
    let heard = silent(round(&[member(standing(10, "q-1"), &first)]), "a:1");
    assert!(matches!(next_step(&own(promised(q2, &other)), &heard, DRAW), Step::Wait(_)));
}

/// q-0 formed the first with a disk that was lost; the new q-0 and q-1 have formed the second, and nobody hears of that while the old
/// disk is back.
#[test]
fn what_was_promised_before_is_not_formed_while_somebody_may_have_formed_what_came_after() {
    let [_, q1, q2] = three();
    let (first, second) = (proposal(T1, 1, [30, 10, 20]), proposal(T2, 1, [31, 10, 20]));
    let q2 = Own { lost: vec![NodeId(30)], ..own(promised(q2, &second)) };
    let old = member(standing(30, "q-0"), &first);
    let begins = "has promised to start cluster 00000000000000000000000000000072, and nodes of cluster \
                  00000000000000000000000000000071 answer, which it had promised before: ";
    let mut twins = round(&[old.clone(), promised(q1.clone(), &second)]);
    twins.heard.insert("a:1".to_owned(), Ok(promised(standing(31, "q-0"), &second)));
    let rounds = [
        (
            silent(round(&[old.clone(), q1.clone()]), "10.0.0.9:7400"),
            "waits until all have answered; no answer from 10.0.0.9:7400 (connection refused)",
        ),
        (round(std::slice::from_ref(&old)), "waits for q-1"),
        (
            twins,
            "two nodes are called \"q-0\", the one at q-0:7400 and the one at a:1: one must get another name or go",
        ),
    ];
    for (round, reason) in rounds {
        assert_eq!(waits(&q2, &round), format!("{begins}{reason}"));
    }
    let both = round(&[old, member(q1, &second)]);
    assert_eq!(next_step(&q2, &both, DRAW), Step::Form(second));
}

#[test]
fn a_founder_that_lost_its_disk_makes_the_proposer_propose_again() {
    let [q0, q1, q2] = three();
    let first = proposal(T1, 1, [30, 10, 20]);
    let q0 = own(promised(q0, &first));
    assert_eq!(
        next_step(&q0, &round(&[q1, q2.clone()]), DRAW),
        Step::Propose(first),
        "the same, until all have promised"
    );
    let again = round(&[standing(11, "q-1"), q2]);
    assert_eq!(next_step(&q0, &again, DRAW), Step::Propose(proposal(DRAW, 2, [30, 11, 20])));
    // Disks that have changed their names: those who are asked would refuse the names of before.
    let renamed = round(&[standing(20, "q-1"), standing(10, "q-2")]);
    assert_eq!(next_step(&q0, &renamed, DRAW), Step::Propose(proposal(DRAW, 2, [30, 20, 10])));
}

#[test]
fn promises() {
    let [_, q1, _] = three();
    let first = proposal(T1, 1, [30, 10, 20]);
    let given = |own: &Own, proposal: &Proposal| {
        let promised = promise(own, proposal).unwrap_or_else(|why| panic!("{why}"));
        assert_eq!(promised.promise, *proposal);
        promised.lost.iter().map(|node| node.0).collect::<Vec<_>>()
    };
    let empty = own(q1.clone());
    assert_eq!(given(&empty, &first), NOBODY);
    let bound = own(promised(q1.clone(), &first));
    assert_eq!(given(&bound, &first), NOBODY, "asking again changes nothing");
    assert_eq!(given(&bound, &proposal(T2, 2, [30, 10, 21])), NOBODY);
    assert_eq!(given(&bound, &proposal(T2, 1, [31, 10, 20])), [30], "the disk of q-0 is lost");

    let refused = |own: &Own, proposal: &Proposal| promise(own, proposal).unwrap_err();
    let bound_to = "it has promised to start cluster 00000000000000000000000000000071, which q-0 proposed";
    assert_eq!(refused(&bound, &proposal(T2, 1, [30, 10, 20])), bound_to, "the same attempt");
    let later = own(promised(q1.clone(), &proposal(T1, 2, [30, 10, 20])));
    assert_eq!(refused(&later, &proposal(T2, 1, [30, 10, 20])), bound_to, "an earlier attempt");
    let forgetful = Own { lost: vec![NodeId(31)], ..bound.clone() };
    let lost = "q-0 has lost the disk from which it proposed that";
    assert_eq!(refused(&forgetful, &proposal(T2, 9, [31, 10, 20])), lost);
    let full = Own { lost: (100..100 + LOST_MAX as u64).map(NodeId).collect(), ..bound };
    assert_eq!(refused(&full, &proposal(T2, 1, [31, 10, 20])), bound_to);
}

#[test]
fn what_is_not_to_be_promised() {
    let [_, q1, _] = three();
    let first = proposal(T1, 1, [30, 10, 20]);
    let refused = |standing: Standing, proposal: &Proposal| promise(&own(standing), proposal).unwrap_err();
    let changed = |change: fn(&mut Standing)| {
        let mut q1 = q1.clone();
        change(&mut q1);
        refused(q1, &first)
    };
    assert_eq!(changed(|q1| q1.cluster = Some(T1)), "it belongs to cluster 00000000000000000000000000000071");
    assert_eq!(changed(|q1| q1.applies = true), "it has applied for membership of a cluster");
    assert_eq!(changed(|q1| q1.former = Some(T2)), "it was removed from cluster 00000000000000000000000000000072");
    assert_eq!(changed(|q1| q1.size = None), "it only joins, as it has no bootstrap.size");
    assert_eq!(changed(|q1| q1.size = Some(5)), "the proposal has 3 founders, and its bootstrap.size is 5");
    assert_eq!(changed(|q1| q1.node.node = NodeId(12)), "it is none of the founders of the proposal");
    assert_eq!(changed(|q1| q1.node.name = "q-4".into()), "it is none of the founders of the proposal");

    let proposed = |change: fn(&mut Proposal)| {
        let mut proposal = first.clone();
        change(&mut proposal);
        refused(q1.clone(), &proposal)
    };
    let strangers = "it does not start a cluster with q-0, q-1 and q-7";
    assert_eq!(proposed(|first| first.founders[1].name = "q-7".into()), strangers);
    assert_eq!(proposed(|first| first.founders[1].name = "q-0".into()), "it does not start a cluster with q-0 and q-1");
    assert_eq!(
        proposed(|first| first.founders[1].node = NodeId(10)),
        "it does not start a cluster with q-0, q-1 and q-2"
    );
    assert_eq!(proposed(|first| first.proposer = NodeId(10)), "\"q-1\" is not the founder that proposes");
    assert_eq!(proposed(|first| first.proposer = NodeId(99)), "\"\" is not the founder that proposes");
}
