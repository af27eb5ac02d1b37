//! The service `quorate.internal.Founding`: what nodes ask each other before they belong to a cluster.

use tonic::{Request, Response, Status};

use super::Context;
use crate::cluster::founder::{Founder, Refused};
use crate::cluster::founding_codec::{proposal_from_proto, standing_to_proto};
use crate::proto::internal;

/// The service, on this node.
pub struct FoundingService {
    founder: Founder,
}

impl FoundingService {
    /// The service of the node that `context` belongs to.
    pub fn new(context: &Context) -> Self {
        Self { founder: context.founder.clone() }
    }
}

#[tonic::async_trait]
impl internal::founding_server::Founding for FoundingService {
    async fn who_are_you(
        &self,
        _: Request<internal::WhoAreYouRequest>,
    ) -> Result<Response<internal::WhoAreYouReply>, Status> {
        let standing = self.founder.standing().map_err(|why| Status::unavailable(why.to_string()))?;
        Ok(Response::new(standing_to_proto(&standing)))
    }

    async fn promise(
        &self,
        request: Request<internal::PromiseRequest>,
    ) -> Result<Response<internal::PromiseReply>, Status> {
        let proposal = request.into_inner().proposal.ok_or("there is none").and_then(proposal_from_proto);
        let proposal = proposal.map_err(|why| Status::invalid_argument(format!("proposal: {why}")))?;
        let founder = self.founder.clone();
        // A write to the disk. Whoever asked may give up meanwhile: the promise is made all the same.
        let promised = tokio::task::spawn_blocking(move || founder.promise(&proposal)).await;
        match promised.map_err(|error| Status::unavailable(error.to_string()))? {
            Ok(()) => Ok(Response::new(internal::PromiseReply { promised: true, refusal: String::new() })),
            Err(Refused::Rule(refusal)) => Ok(Response::new(internal::PromiseReply { promised: false, refusal })),
            Err(why) => Err(Status::unavailable(why.to_string())),
        }
    }
}
