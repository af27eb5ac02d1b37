//! A connection to a server that may say anything. tonic takes the details of a status for base64 without a look, and panics where they
//! are not, which ends the process: so those are left out before it reads them. The code and the message stay.
//!
//! Not here: connections whose answers nobody decodes, as where a node passes calls on. There the code alone is read.

use std::task::{Context, Poll};

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;
use http_body_util::BodyExt as _;
use tonic::body::Body;
use tonic::codegen::{BoxFuture, Service, http};
use tonic::transport::Channel;
use tonic::{Code, Status};

/// As the specification of gRPC over HTTP/2 has it for binary metadata: with padding or without.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A channel, whatever the server at its other end says.
#[derive(Clone, Debug)]
pub struct Wary(Channel);

impl From<Channel> for Wary {
    fn from(channel: Channel) -> Self {
        Self(channel)
    }
}

impl Service<http::Request<Body>> for Wary {
    type Response = http::Response<Body>;
    type Error = tonic::transport::Error;
    type Future = BoxFuture<Self::Response, Self::Error>;

    fn poll_ready(&mut self, wakeup: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.poll_ready(wakeup)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let answering = self.0.call(request);
        Box::pin(async move {
            let mut answer = answering.await?;
            tame(answer.headers_mut());
            Ok(answer.map(|body| Body::new(body.map_frame(tamed))))
        })
    }
}

/// The code of a status, if there is one here: all that is read of it where it may be another node's and goes on as it is.
pub fn code(headers: &http::HeaderMap) -> Option<Code> {
    headers.get(Status::GRPC_STATUS).map(|code| Code::from_bytes(code.as_bytes()))
}

fn tamed(mut frame: http_body::Frame<Bytes>) -> http_body::Frame<Bytes> {
    if let Some(trailers) = frame.trailers_mut() {
        tame(trailers);
    }
    frame
}

/// Leaves out the details of a status that nobody could decode.
fn tame(headers: &mut http::HeaderMap) {
    let is_good = |details: &http::HeaderValue| BASE64.decode(details.as_bytes()).is_ok();
    if !headers.get_all(Status::GRPC_STATUS_DETAILS).iter().all(is_good) {
        headers.remove(Status::GRPC_STATUS_DETAILS);
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;
    use crate::proto::internal::PeerStatusRequest;
    use crate::proto::internal::peer_client::PeerClient;

    /// A server whose answer to every call is a status with details that are no base64: alone, or after an answer.
    async fn garbler(alone: bool) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let answer = move || async move {
            let mut status = http::HeaderMap::new();
            status.insert(Status::GRPC_STATUS, http::HeaderValue::from_static("9"));
            status.insert(Status::GRPC_STATUS_DETAILS, http::HeaderValue::from_static("!"));
            let answer = http::Response::builder().header("content-type", "application/grpc");
            let mut answer = answer.body(axum::body::Body::empty()).unwrap();
            match alone {
                true => answer.headers_mut().extend(status),
                false => {
                    let after = axum::body::Body::empty().with_trailers(std::future::ready(Some(Ok(status))));
                    *answer.body_mut() = axum::body::Body::new(after);
                }
            }
            answer
        };
        tokio::spawn(async move { axum::serve(listener, axum::Router::new().fallback(answer)).await });
        address
    }

    #[tokio::test]
    async fn garbage_at_the_end_of_a_call_is_a_failure_like_others() {
        for alone in [true, false] {
            let address = garbler(alone).await;
            let channel = Channel::from_shared(format!("http://{address}")).unwrap().connect_lazy();
            let asked = PeerClient::new(Wary::from(channel)).status(PeerStatusRequest::default()).await;
            assert_eq!(asked.unwrap_err().code(), Code::FailedPrecondition, "alone: {alone}");
        }
    }

    fn details_of(details: &'static str) -> Option<Bytes> {
        let mut headers = http::HeaderMap::new();
        headers.insert(Status::GRPC_STATUS, http::HeaderValue::from_static("14"));
        headers.insert(Status::GRPC_STATUS_DETAILS, http::HeaderValue::from_static(details));
        tame(&mut headers);
        let is_there = headers.contains_key(Status::GRPC_STATUS_DETAILS);
        let status = Status::from_header_map(&headers).expect("its code is there");
        assert_eq!(status.code(), Code::Unavailable);
        is_there.then(|| Bytes::copy_from_slice(status.details()))
    }

    #[test]
    fn only_details_that_can_be_decoded_are_left() {
        assert_eq!(details_of("YWI="), Some(Bytes::from_static(b"ab")));
        assert_eq!(details_of("YWI"), Some(Bytes::from_static(b"ab")), "padding is not asked for");
        for wrong in ["!", "Y", "YW I=", "YWI=YWI="] {
            assert_eq!(details_of(wrong), None, "{wrong}");
        }
    }
}
