//! The service `quorate.v1.Cluster`: who belongs to the cluster, how they are, and changes of that.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{join_all, select_ok};
use tokio::sync::Mutex;
use tonic::{Request, Response, Status};

use super::errors::{self, Rejection};
use super::route::route_to_leader;
use super::{Context, status};
use crate::cluster::members::{self, Admission, Unacceptable};
use crate::ids::{Contact, NodeId, SHARD_0};
use crate::proto::v1;
use crate::raft::{ChangeRefused, Learner, MembershipChange};
use crate::reasons;
use crate::replica::{self, Refusal};

/// A membership change that is not committed after this long is given up; it may still happen.
const CHANGE_PATIENCE: Duration = Duration::from_secs(20);

/// The service, on this node.
#[derive(Clone)]
pub struct ClusterService {
    context: Context,
    /// One admission at a time: of two applicants with one name the second must see the first.
    admission: Arc<Mutex<()>>,
}

impl ClusterService {
    /// The service of the node that `context` belongs to.
    pub fn new(context: Context) -> Self {
        Self { context, admission: Arc::default() }
    }

    async fn status(&self) -> v1::StatusResponse {
        let context = &self.context;
        let configuration = context.configuration();
        let others = configuration.members().filter(|member| *member != context.handle.node());
        let others = join_all(others.map(|member| status::of_peer(context, member)));
        let mut nodes = others.await;
        nodes.push(status::own(context));
        nodes.sort_by(|left, right| name_of(left).cmp(&name_of(right)));
        v1::StatusResponse { header: Some(context.header(SHARD_0, None)), nodes }
    }

    async fn add_member(&self, request: v1::AddMemberRequest) -> Result<v1::AddMemberResponse, Rejection> {
        let applicant = members::applicant(request.member.unwrap_or_default());
        let applicant = applicant.map_err(|why| errors::unacceptable(&why))?;
        let _one_at_a_time = self.admission.lock().await;
        let (_, leader) = route_to_leader(&self.context, SHARD_0.0)?;
        match self.admit(&applicant, &leader).await.map_err(|why| errors::unacceptable(&why))? {
            Some(learner) => {
                let learner = Learner { stay: request.stay_learner, ..learner };
                let change = MembershipChange::AddLearner { contact: applicant.clone(), learner };
                self.change(applicant.node, change).await?;
            }
            // The entry that brought it in could still be lost, and it would wait for ever for a leader that knows it.
            None if !leader.membership_is_anchored => {
                return Err(errors::refusal(Refusal::Change(ChangeRefused::InProgress), &self.context));
            }
            // Its first answer was lost. Who is in tells its peers of its addresses: clients do not move members.
            None if !self.may_have_moved(&applicant, &leader).await => return Ok(self.added()),
            None => {}
        }
        self.learn(applicant).await?;
        Ok(self.added())
    }

    /// True for a learner that does not answer: one that restarts before it has heard from the leader knows no peer that it
    /// could tell its addresses.
    async fn may_have_moved(&self, member: &Contact, leader: &replica::Status) -> bool {
        let learner = leader.membership.configuration.learners.contains_key(&member.node);
        learner && self.first_alive(&[member.node], leader).await.is_none()
    }

    fn added(&self) -> v1::AddMemberResponse {
        v1::AddMemberResponse { header: Some(self.context.header(SHARD_0, None)), members: self.members() }
    }

    /// The addresses of a newcomer are part of the answer.
    async fn learn(&self, contact: Contact) -> Result<(), Rejection> {
        let merged = self.context.book.merge_in_background(vec![contact]).await;
        merged.map(|_| ()).map_err(|error| errors::internal(error.to_string()))
    }

    /// How the applicant comes in; none: it is in already.
    async fn admit(&self, applicant: &Contact, leader: &replica::Status) -> Result<Option<Learner>, Unacceptable> {
        match members::admit(applicant, &leader.membership, &self.context.book)? {
            Admission::AlreadyMember => Ok(None),
            Admission::Newcomer => Ok(Some(Learner::default())),
            Admission::NameHeldBy(holders) => match self.first_alive(&holders, leader).await {
                Some(by) => Err(Unacceptable::NameTaken { name: applicant.name.clone(), by }),
                None => Ok(Some(members::replacing(&holders, &leader.membership.configuration))),
            },
        }
    }

    /// One of `nodes` that lives: this one, one that the leader hears although it may be too busy to answer a question, or one
    /// that answers as the very node that is asked for and not as another at its address.
    async fn first_alive(&self, nodes: &[NodeId], leader: &replica::Status) -> Option<NodeId> {
        let is_heard = |node: &&NodeId| **node == self.context.handle.node() || leader.well.contains(node);
        if let Some(heard) = nodes.iter().find(is_heard) {
            return Some(*heard);
        }
        let asked = nodes
            .iter()
            .map(|node| Box::pin(async move { self.context.ask_peer(*node).await.map(|_| *node).ok_or(()) }));
        select_ok(asked).await.ok().map(|(alive, _)| alive)
    }

    async fn remove_member(&self, request: v1::RemoveMemberRequest) -> Result<v1::RemoveMemberResponse, Rejection> {
        let (_, leader) = route_to_leader(&self.context, SHARD_0.0)?;
        let leaving = match members::find_all(&request.members, &leader.membership, &self.context.book) {
            // The entry that left it out could still be lost, and whoever leaves would take that for done.
            Err(Unacceptable::NoSuchMember(_)) if !leader.membership_is_anchored => {
                return Err(errors::refusal(Refusal::Change(ChangeRefused::InProgress), &self.context));
            }
            found => found.map_err(|why| errors::unacceptable(&why))?,
        };
        if leaving.contains(&self.context.handle.node()) && self.hand_over_before(&leaving, &leader).await {
            route_to_leader(&self.context, SHARD_0.0)?;
        }
        let named = leaving.first().copied().expect("somebody was found");
        self.change(named, MembershipChange::Remove(leaving)).await?;
        Ok(v1::RemoveMemberResponse { header: Some(self.context.header(SHARD_0, None)), members: self.members() })
    }

    /// Hands leadership to a voter that stays, before a change that removes this node too; true when that one leads. Without
    /// it the change would still be safe, but the cluster would have no leader for a moment at its end.
    async fn hand_over_before(&self, leaving: &BTreeSet<NodeId>, leader: &replica::Status) -> bool {
        let configuration = &leader.membership.configuration;
        let Ok(next) = configuration.changed(&MembershipChange::Remove(leaving.clone())) else { return false };
        let able: Vec<NodeId> = next.voters.iter().copied().filter(|voter| leader.well.contains(voter)).collect();
        // The change is going to be refused: then this node may as well lead on.
        if able.len() < next.commit_quorum.size(next.voters.len()) || !leader.membership_is_anchored {
            return false;
        }
        for voter in able {
            if self.context.handle.transfer_leadership(SHARD_0, Some(voter)).await.is_ok() {
                return true;
            }
        }
        false
    }

    async fn promote_member(&self, request: v1::PromoteMemberRequest) -> Result<v1::PromoteMemberResponse, Rejection> {
        let node = self.find(&request.member)?;
        self.change(node, MembershipChange::Promote(node)).await?;
        Ok(v1::PromoteMemberResponse { header: Some(self.context.header(SHARD_0, None)), members: self.members() })
    }

    /// Has leadership handed to whom the request names, or to whoever has most of the log, and waits until that one leads.
    async fn transfer_leadership(
        &self,
        request: v1::TransferLeadershipRequest,
    ) -> Result<v1::TransferLeadershipResponse, Rejection> {
        let to = if request.to.is_empty() { None } else { Some(self.find(&request.to)?) };
        let transferred = self.context.handle.transfer_leadership(SHARD_0, to).await;
        let leader = transferred.map_err(|refusal| errors::refusal(refusal, &self.context))?;
        let leader = members::describe(leader, &self.context.configuration(), &self.context.book);
        Ok(v1::TransferLeadershipResponse { header: Some(self.context.header(SHARD_0, None)), leader: Some(leader) })
    }

    fn find(&self, member: &str) -> Result<NodeId, Rejection> {
        let (_, leader) = route_to_leader(&self.context, SHARD_0.0)?;
        members::find(member, &leader.membership.configuration, &self.context.book)
            .map_err(|why| errors::unacceptable(&why))
    }

    /// Has the change of `node` made and waits until it is committed.
    async fn change(&self, node: NodeId, change: MembershipChange) -> Result<(), Rejection> {
        let changed = self.context.handle.change_membership(SHARD_0, change);
        let limit = self.context.longest_wait(CHANGE_PATIENCE);
        match tokio::time::timeout(limit, changed).await {
            // To promote a voter, or to bring in who is in already, is to have it as it was asked for.
            Ok(Ok(_) | Err(Refusal::Change(ChangeRefused::AlreadyVoter(_) | ChangeRefused::AlreadyMember(_)))) => {
                Ok(())
            }
            Ok(Err(refusal)) => Err(errors::refusal(refusal, &self.context).with(reasons::MEMBER, node)),
            // Asking again is safe: a change that has happened meanwhile changes nothing a second time.
            Err(_) => Err(errors::too_late(limit, true)),
        }
    }

    fn members(&self) -> Vec<v1::Member> {
        members::list(&self.context.configuration(), &self.context.book)
    }
}

fn name_of(node: &v1::NodeStatus) -> Option<(&str, &str)> {
    node.member.as_ref().map(|member| (member.name.as_str(), member.node_id.as_str()))
}

#[tonic::async_trait]
impl v1::cluster_server::Cluster for ClusterService {
    async fn status(&self, request: Request<v1::StatusRequest>) -> Result<Response<v1::StatusResponse>, Status> {
        let status = async |_| Ok(self.status().await);
        self.context.serve("quorate.v1.Cluster/Status", request, status).await
    }

    async fn list_members(
        &self,
        request: Request<v1::ListMembersRequest>,
    ) -> Result<Response<v1::ListMembersResponse>, Status> {
        let list = async |_| {
            let header = Some(self.context.header(SHARD_0, None));
            Ok(v1::ListMembersResponse { header, members: self.members() })
        };
        self.context.serve("quorate.v1.Cluster/ListMembers", request, list).await
    }

    async fn add_member(
        &self,
        request: Request<v1::AddMemberRequest>,
    ) -> Result<Response<v1::AddMemberResponse>, Status> {
        self.context.serve("quorate.v1.Cluster/AddMember", request, |request| self.add_member(request)).await
    }

    async fn remove_member(
        &self,
        request: Request<v1::RemoveMemberRequest>,
    ) -> Result<Response<v1::RemoveMemberResponse>, Status> {
        self.context.serve("quorate.v1.Cluster/RemoveMember", request, |request| self.remove_member(request)).await
    }

    async fn promote_member(
        &self,
        request: Request<v1::PromoteMemberRequest>,
    ) -> Result<Response<v1::PromoteMemberResponse>, Status> {
        self.context.serve("quorate.v1.Cluster/PromoteMember", request, |request| self.promote_member(request)).await
    }

    async fn transfer_leadership(
        &self,
        request: Request<v1::TransferLeadershipRequest>,
    ) -> Result<Response<v1::TransferLeadershipResponse>, Status> {
        let transfer = |request| self.transfer_leadership(request);
        self.context.serve("quorate.v1.Cluster/TransferLeadership", request, transfer).await
    }
}
