//! A test double of the API server of Kubernetes, over real HTTP: StatefulSets to get, list and watch, pods to get and patch, and
//! faults that can be switched on. It knows what Quorate asks of it, and no more.
//!
//! One file that test binaries include with `#[path]`, and so does the library for its own tests.
//!
//! ```text
//!   let server = ApiServer::start();
//!   server.put_set("default", "quorate", 3);
//!   server.write_kubeconfig(&path, "default");         KUBECONFIG=path
//!   server.fail(Call::Watch, Fault::Status(403));      until server.heal()
//! ```
//!
//! Versions count up over all objects, as in etcd. A watch goes on from a version; one from before `forget_history` is Gone.

#![allow(dead_code)]

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::{Method, Response, StatusCode, header};
use futures_util::stream::{self, Stream, StreamExt as _};
use serde_json::{Value, json};
use tokio::sync::{oneshot, watch};

/// A patch is larger than this in no test.
const BODY_BYTES_MAX: usize = 1 << 20;

/// What is asked of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Call {
    /// One StatefulSet or pod.
    Get,
    /// The StatefulSets of a namespace.
    List,
    /// Their changes.
    Watch,
    /// A change of a pod.
    Patch,
}

/// Every call.
pub const ALL: [Call; 4] = [Call::Get, Call::List, Call::Watch, Call::Patch];

/// What goes wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It answers with this code and a Status, such as 401, 403, 404, 409, 410 or 500.
    Status(u16),
    /// It answers 429 and when to come back.
    RetryAfter(u32),
    /// It takes the request and never answers.
    Silence,
    /// It answers after so long.
    Slow(Duration),
    /// It answers with what is no JSON.
    Garbage,
    /// It answers with JSON in which values have other types.
    WrongTypes,
    /// It closes the connection in the middle of the answer.
    Cut,
    /// It answers a watch with the event that says so: the version to go on from is Gone.
    GoneEvent,
}

/// The server. Dropping it closes its port and all connections.
pub struct ApiServer {
    address: SocketAddr,
    shared: Arc<Shared>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    state: Mutex<State>,
    /// Counts changes, of objects and of faults.
    changed: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    version: u64,
    /// By namespace and name.
    sets: BTreeMap<(String, String), Value>,
    pods: BTreeMap<(String, String), Value>,
    history: Vec<Change>,
    /// Watches cannot begin before this version.
    forgotten: u64,
    /// Watches that began when this was less are to end.
    ended_watches: u64,
    faults: BTreeMap<Call, Fault>,
    requests: Vec<String>,
}

#[derive(Clone)]
struct Change {
    version: u64,
    namespace: String,
    name: String,
    event: Value,
}

impl ApiServer {
    /// Starts a server on a free port of the loopback.
    ///
    /// # Panics
    /// There is no free port.
    pub fn start() -> Self {
        Self::start_at("127.0.0.1:0".parse().unwrap())
    }

    /// Starts a server at an address.
    ///
    /// # Panics
    /// The address is in use.
    pub fn start_at(address: SocketAddr) -> Self {
        let listener = std::net::TcpListener::bind(address).expect("the address is free");
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared { state: Mutex::default(), changed: watch::Sender::default() });
        let (stop, stopped) = oneshot::channel();
        let serving = shared.clone();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                let answer = move |request| answer(serving.clone(), request);
                let app = Router::new().fallback(answer);
                tokio::select! {
                    served = axum::serve(listener, app) => served.unwrap(),
                    _ = stopped => {}
                }
            });
            // Whatever still hangs goes with the runtime.
            runtime.shutdown_background();
        });
        Self { address, shared, stop: Some(stop), thread: Some(thread) }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Writes a file for `KUBECONFIG` that leads to this server and this namespace.
    ///
    /// # Panics
    /// The file cannot be written.
    pub fn write_kubeconfig(&self, path: &Path, namespace: &str) {
        let config = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "test",
            "clusters": [{"name": "test", "cluster": {"server": self.url()}}],
            "users": [{"name": "test", "user": {"token": "test"}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test", "namespace": namespace}}],
        });
        std::fs::write(path, config.to_string()).unwrap();
    }

    /// Makes a StatefulSet, or scales the one that is there.
    pub fn put_set(&self, namespace: &str, name: &str, replicas: i32) {
        self.change_set(namespace, name, |set| set["spec"]["replicas"] = json!(replicas));
    }

    /// Changes a StatefulSet in any way; makes it when there is none.
    pub fn change_set(&self, namespace: &str, name: &str, change: impl FnOnce(&mut Value)) {
        let key = (namespace.to_owned(), name.to_owned());
        self.state().put(&key, |state| state.sets.get(&key).cloned(), |set| change(set));
        self.tell();
    }

    /// A StatefulSet that is being deleted, and its pods with it.
    pub fn begin_deletion(&self, namespace: &str, name: &str) {
        self.change_set(namespace, name, |set| set["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z"));
    }

    /// Deletes a StatefulSet.
    pub fn delete_set(&self, namespace: &str, name: &str) {
        self.state().delete(namespace, name);
        self.tell();
    }

    /// Makes a pod, with the labels that it had before, if there was one.
    pub fn put_pod(&self, namespace: &str, name: &str) {
        let mut state = self.state();
        let key = (namespace.to_owned(), name.to_owned());
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod", "spec": {"containers": []},
            "metadata": {"name": name, "namespace": namespace, "labels": {"app.kubernetes.io/name": "quorate"}},
        });
        state.pods.entry(key).or_insert(pod);
    }

    /// The value of a label of a pod.
    pub fn label(&self, namespace: &str, pod: &str, label: &str) -> Option<String> {
        let state = self.state();
        let pod = state.pods.get(&(namespace.to_owned(), pod.to_owned()))?;
        pod["metadata"]["labels"][label].as_str().map(str::to_owned)
    }

    /// From here on, such calls go wrong. A watch that is open is cut by [`Fault::Cut`], and told by [`Fault::GoneEvent`];
    /// otherwise it ends, so that the next one goes wrong.
    pub fn fail(&self, call: Call, fault: Fault) {
        self.state().faults.insert(call, fault);
        if call == Call::Watch {
            self.end_watches();
        }
        self.tell();
    }

    /// Nothing goes wrong any more. Who has not been answered yet is not.
    pub fn heal(&self) {
        self.state().faults.clear();
        self.end_watches();
    }

    /// Ends all watches, as the server does from time to time.
    pub fn end_watches(&self) {
        self.state().ended_watches += 1;
        self.tell();
    }

    /// Watches cannot go on from what was until here, as after a compaction.
    pub fn forget_history(&self) {
        let mut state = self.state();
        state.version += 1;
        state.forgotten = state.version;
        state.history.clear();
    }

    /// All requests so far: method, path and query.
    pub fn requests(&self) -> Vec<String> {
        self.state().requests.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state()
    }

    fn tell(&self) {
        self.shared.changed.send_modify(|changes| *changes += 1);
    }
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic there has been seen as an answer that did not come.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn put(
        &mut self,
        key: &(String, String),
        find: impl FnOnce(&Self) -> Option<Value>,
        change: impl FnOnce(&mut Value),
    ) {
        let before = find(self);
        let event = if before.is_some() { "MODIFIED" } else { "ADDED" };
        let (namespace, name) = key.clone();
        let mut set = before.unwrap_or_else(|| new_set(&namespace, &name));
        change(&mut set);
        self.version += 1;
        set["metadata"]["resourceVersion"] = json!(self.version.to_string());
        self.sets.insert(key.clone(), set.clone());
        self.history.push(Change {
            version: self.version,
            namespace,
            name,
            event: json!({"type": event, "object": set}),
        });
    }

    fn delete(&mut self, namespace: &str, name: &str) {
        let Some(mut set) = self.sets.remove(&(namespace.to_owned(), name.to_owned())) else { return };
        self.version += 1;
        set["metadata"]["resourceVersion"] = json!(self.version.to_string());
        let (namespace, name) = (namespace.to_owned(), name.to_owned());
        let event = json!({"type": "DELETED", "object": set});
        self.history.push(Change { version: self.version, namespace, name, event });
    }
}

fn new_set(namespace: &str, name: &str) -> Value {
    json!({
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {"name": name, "namespace": namespace, "uid": "00000000-0000-0000-0000-000000000001"},
        "spec": {
            "replicas": 1,
            "serviceName": format!("{name}-peers"),
            "podManagementPolicy": "Parallel",
            "selector": {"matchLabels": {"app.kubernetes.io/name": name}},
            "template": {"metadata": {"labels": {"app.kubernetes.io/name": name}}, "spec": {"containers": []}},
        },
    })
}

/// A request, taken apart.
struct Asked {
    call: Call,
    namespace: String,
    /// Of a StatefulSet, or else of a pod.
    is_set: bool,
    /// The object; of a list or a watch the one that is selected, if one is.
    name: Option<String>,
    /// From which version on a watch is to go.
    version: u64,
    timeout: Duration,
}

async fn answer(shared: Arc<Shared>, request: Request) -> Response<Body> {
    shared.state().requests.push(format!("{} {}", request.method(), request.uri()));
    let Some(asked) = take_apart(&request) else {
        return status(404, "NotFound", "the server could not find the requested resource");
    };
    let fault = shared.state().faults.get(&asked.call).cloned();
    match fault {
        Some(Fault::Silence) => std::future::pending().await,
        Some(Fault::Slow(time)) => tokio::time::sleep(time).await,
        Some(Fault::Status(code)) => return status(code, reason(code), &format!("told to answer {code}")),
        Some(Fault::RetryAfter(seconds)) => {
            let mut answer = status(429, "TooManyRequests", "too many requests, please try again later");
            answer.headers_mut().insert(header::RETRY_AFTER, seconds.into());
            return answer;
        }
        Some(Fault::Garbage) => return with_body(200, Body::from("\u{0}\u{1}<html>no JSON at all\n{\n")),
        Some(Fault::WrongTypes) => return wrong_types(&asked),
        Some(Fault::Cut) => return with_body(200, cut()),
        Some(Fault::GoneEvent) if asked.call == Call::Watch => {
            let event = json!({"type": "ERROR", "object": status_object(410, "Expired", "too old resource version")});
            return with_body(200, Body::from(format!("{event}\n")));
        }
        Some(Fault::GoneEvent) | None => {}
    }
    match asked.call {
        Call::Get => get(&shared.state(), &asked),
        Call::List => list(&shared.state(), &asked),
        Call::Watch => with_body(200, Body::from_stream(follow(shared, asked))),
        Call::Patch => {
            let body = axum::body::to_bytes(request.into_body(), BODY_BYTES_MAX).await.unwrap_or_default();
            patch(&mut shared.state(), &asked, &body)
        }
    }
}

fn take_apart(request: &Request) -> Option<Asked> {
    let path: Vec<&str> = request.uri().path().trim_matches('/').split('/').collect();
    let (namespace, is_set, name) = match path.as_slice() {
        ["apis", "apps", "v1", "namespaces", namespace, "statefulsets", name @ ..] => (namespace, true, name.first()),
        ["api", "v1", "namespaces", namespace, "pods", name @ ..] => (namespace, false, name.first()),
        _ => return None,
    };
    let query = request.uri().query().unwrap_or_default().to_owned();
    let value = |key: &str| {
        let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        pairs.find(|(name, _)| *name == key).map(|(_, value)| value.replace("%3D", "="))
    };
    let call = match (request.method(), name) {
        (&Method::GET, Some(_)) => Call::Get,
        (&Method::PATCH, Some(_)) => Call::Patch,
        (&Method::GET, None) if value("watch").is_some_and(|watch| watch == "true" || watch == "1") => Call::Watch,
        (&Method::GET, None) => Call::List,
        _ => return None,
    };
    let selected = || value("fieldSelector")?.strip_prefix("metadata.name=").map(str::to_owned);
    let seconds = value("timeoutSeconds").and_then(|seconds| seconds.parse().ok()).unwrap_or(1800);
    Some(Asked {
        call,
        namespace: (*namespace).to_owned(),
        is_set,
        name: name.map(|name| (*name).to_owned()).or_else(selected),
        version: value("resourceVersion").and_then(|version| version.parse().ok()).unwrap_or(0),
        timeout: Duration::from_secs(seconds),
    })
}

fn get(state: &State, asked: &Asked) -> Response<Body> {
    let objects = if asked.is_set { &state.sets } else { &state.pods };
    let name = asked.name.clone().unwrap_or_default();
    match objects.get(&(asked.namespace.clone(), name.clone())) {
        Some(object) => with_json(200, object),
        None => status(404, "NotFound", &format!("\"{name}\" not found")),
    }
}

fn list(state: &State, asked: &Asked) -> Response<Body> {
    let is_asked = |(namespace, name): &(String, String)| {
        *namespace == asked.namespace && asked.name.as_ref().is_none_or(|selected| selected == name)
    };
    let items: Vec<&Value> = state.sets.iter().filter(|(key, _)| is_asked(key)).map(|(_, set)| set).collect();
    let list = json!({
        "apiVersion": "apps/v1",
        "kind": "StatefulSetList",
        "metadata": {"resourceVersion": state.version.to_string()},
        "items": items,
    });
    with_json(200, &list)
}

/// The changes after a version, as they come, each followed by a bookmark.
fn follow(shared: Arc<Shared>, asked: Asked) -> impl Stream<Item = Result<Bytes, Infallible>> {
    let began = (shared.state().ended_watches, tokio::time::Instant::now() + asked.timeout);
    let changes = shared.changed.subscribe();
    let start = (shared, asked.version, changes, false);
    let (ended_watches, end) = began;
    let pieces = stream::unfold(start, move |(shared, mut from, mut changes, ended)| {
        let (namespace, selected) = (asked.namespace.clone(), asked.name.clone());
        async move {
            loop {
                if ended || shared.state().ended_watches != ended_watches {
                    return None;
                }
                let (found, is_gone) = {
                    let state = shared.state();
                    let is_asked = |change: &&Change| {
                        let is_selected = selected.as_ref().is_none_or(|selected| *selected == change.name);
                        change.version > from && change.namespace == namespace && is_selected
                    };
                    (state.history.iter().filter(is_asked).cloned().collect::<Vec<_>>(), from < state.forgotten)
                };
                if is_gone {
                    let gone = status_object(410, "Expired", &format!("too old resource version: {from}"));
                    return Some((line(&json!({"type": "ERROR", "object": gone})), (shared, from, changes, true)));
                }
                if let Some(last) = found.last() {
                    from = last.version;
                    let lines: Vec<Bytes> = found.iter().map(|change| line(&change.event)).collect();
                    let bookmark = json!({"type": "BOOKMARK", "object": {
                        "apiVersion": "apps/v1", "kind": "StatefulSet",
                        "metadata": {"resourceVersion": from.to_string(), "creationTimestamp": null},
                    }});
                    let text = [lines.concat(), line(&bookmark).to_vec()].concat();
                    return Some((Bytes::from(text), (shared, from, changes, false)));
                }
                tokio::select! {
                    changed = changes.changed() => changed.ok()?,
                    () = tokio::time::sleep_until(end) => return None,
                }
            }
        }
    });
    pieces.map(Ok)
}

/// JSON merge patch (RFC 7386) of a pod.
fn patch(state: &mut State, asked: &Asked, body: &[u8]) -> Response<Body> {
    let name = asked.name.clone().unwrap_or_default();
    let Ok(patch) = serde_json::from_slice::<Value>(body) else {
        return status(400, "BadRequest", "the body is no JSON");
    };
    match state.pods.get_mut(&(asked.namespace.clone(), name.clone())) {
        Some(pod) if !asked.is_set => {
            merge(pod, &patch);
            with_json(200, pod)
        }
        _ => status(404, "NotFound", &format!("pods \"{name}\" not found")),
    }
}

fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(fields) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    for (key, value) in fields {
        if value.is_null() {
            target.as_object_mut().unwrap().remove(key);
        } else {
            merge(&mut target[key], value);
        }
    }
}

fn wrong_types(asked: &Asked) -> Response<Body> {
    let name = asked.name.clone().unwrap_or_default();
    let object = json!({
        "apiVersion": "apps/v1", "kind": "StatefulSet",
        "metadata": {"name": name, "resourceVersion": "1"},
        "spec": {"replicas": "three", "ordinals": [], "selector": 7},
    });
    match asked.call {
        Call::List => with_json(200, &json!({"metadata": {"resourceVersion": "1"}, "items": [object]})),
        Call::Watch => with_body(200, Body::from(line(&json!({"type": "MODIFIED", "object": object})))),
        Call::Get | Call::Patch => with_json(200, &object),
    }
}

/// The beginning of an answer, and then the connection breaks.
fn cut() -> Body {
    let begins = Ok(Bytes::from_static(b"{\"type\":\"MODIFIED\",\"object\":{\"apiVersion\":\"apps/v1\",\"ki"));
    Body::from_stream(stream::iter([begins, Err(io::Error::other("told to break the connection"))]))
}

fn status(code: u16, reason: &str, message: &str) -> Response<Body> {
    with_json(code, &status_object(code, reason, message))
}

fn status_object(code: u16, reason: &str, message: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Status", "metadata": {}, "status": "Failure",
        "message": message, "reason": reason, "code": code,
    })
}

fn reason(code: u16) -> &'static str {
    match code {
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "NotFound",
        409 => "Conflict",
        410 => "Expired",
        _ => "InternalError",
    }
}

fn line(event: &Value) -> Bytes {
    Bytes::from(format!("{event}\n"))
}

fn with_json(code: u16, value: &Value) -> Response<Body> {
    with_body(code, Body::from(value.to_string()))
}

fn with_body(code: u16, body: Body) -> Response<Body> {
    let answer = Response::builder().status(StatusCode::from_u16(code).unwrap());
    answer.header(header::CONTENT_TYPE, "application/json").body(body).unwrap()
}
