//! How long calls take: around a whole gRPC service, so that every method is measured alike, from the call's arrival to the end of
//! its answer. Of a stream that is its end, whoever brings it about. `rpc.server.call.duration`, by the semantic conventions for RPC.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context as Wakeup, Poll};

use bytes::Bytes;
use http_body::Frame;
use http_body_util::BodyExt as _;
use prost::Message as _;
use prost_types::FileDescriptorSet;
use tonic::Code;
use tonic::body::Body;
use tonic::codegen::{BoxFuture, Service, http};
use tonic::server::NamedService;

use super::metrics::Calls;
use super::{Instruments, Moment, Telemetry};
use crate::{proto, wary};

/// What calls of methods that the service does not have go under: their names are whatever a client makes up.
const OTHER: &str = "_OTHER";

/// A service whose calls are measured.
#[derive(Clone, Debug)]
pub struct Measured<S> {
    service: S,
    /// None: nobody wants to know.
    methods: Option<Arc<Methods>>,
}

/// The calls of each method of a service.
#[derive(Debug)]
struct Methods {
    /// By `package.Service/Method`.
    known: BTreeMap<String, Arc<Calls>>,
    other: Arc<Calls>,
}

/// A call while it is served. Told when it is dropped: with the code that its answer ends with, or as cancelled if it has none yet.
#[derive(Debug)]
struct Served {
    calls: Arc<Calls>,
    arrived: Moment,
    code: Code,
}

impl Telemetry {
    /// The service, each call of which is measured.
    pub fn measured<S: NamedService>(&self, service: S) -> Measured<S> {
        let instruments = self.sinks.instruments.as_ref();
        Measured { service, methods: instruments.map(|instruments| Arc::new(Methods::of(S::NAME, instruments))) }
    }
}

impl Methods {
    fn of(service: &str, instruments: &Instruments) -> Self {
        let calls = |method: &str, usual| Arc::new(instruments.calls(method, usual));
        let known = methods(service).into_iter().map(|method| (method.clone(), calls(&method, Code::Ok))).collect();
        Self { known, other: calls(OTHER, Code::Unimplemented) }
    }

    /// A call of the method at this path has arrived.
    fn arrived(&self, path: &str) -> Served {
        let known = path.strip_prefix('/').and_then(|method| self.known.get(method));
        Served { calls: known.unwrap_or(&self.other).clone(), arrived: Moment::now(), code: Code::Cancelled }
    }
}

/// The methods of one of our services, as its definition has them.
fn methods(service: &str) -> Vec<String> {
    let definitions = FileDescriptorSet::decode(proto::DESCRIPTORS).expect("the build has made them");
    let services =
        definitions.file.iter().flat_map(|file| file.service.iter().map(|service| (file.package(), service)));
    let ours = services.filter(|(package, defined)| format!("{package}.{}", defined.name()) == service);
    ours.flat_map(|(_, ours)| &ours.method).map(|method| format!("{service}/{}", method.name())).collect()
}

impl Served {
    /// A status of gRPC, if there is one here: it comes after the answer, or alone.
    fn ends_with(&mut self, headers: &http::HeaderMap) {
        if let Some(code) = wary::code(headers) {
            self.code = code;
        }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.calls.ended(self.code, Moment::now().since(self.arrived));
    }
}

impl<S: NamedService> NamedService for Measured<S> {
    const NAME: &'static str = S::NAME;
}

impl<S> Service<http::Request<Body>> for Measured<S>
where
    S: Service<
            http::Request<Body>,
            Response = http::Response<Body>,
            Error = Infallible,
            Future = BoxFuture<http::Response<Body>, Infallible>,
        >,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, wakeup: &mut Wakeup<'_>) -> Poll<Result<(), Infallible>> {
        self.service.poll_ready(wakeup)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let served = self.methods.as_ref().map(|methods| methods.arrived(request.uri().path()));
        let answering = self.service.call(request);
        let Some(mut served) = served else { return answering };
        Box::pin(async move {
            let answer = answering.await?;
            served.ends_with(answer.headers());
            let inspect = move |frame: &Frame<Bytes>| {
                if let Some(trailers) = frame.trailers_ref() {
                    served.ends_with(trailers);
                }
            };
            Ok(answer.map(|body| Body::new(body.inspect_frame(inspect))))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_methods_of_a_service_are_those_of_its_definition() {
        let names = ["Execute", "ExecuteStream", "RequestLog"];
        assert_eq!(methods("quorate.v1.Quorate"), names.map(|name| format!("quorate.v1.Quorate/{name}")));
    }
}
