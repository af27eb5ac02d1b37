//! As much of a Kubernetes API server as tells pods how many of them there should be. Nobody has the right to change anything.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

/// After so long a watch ends with "too old", and whoever watches reads everything again.
const WATCH_TIME: Duration = Duration::from_millis(500);

/// Answers until the process ends.
pub struct ApiServer {
    address: SocketAddr,
    replicas: Arc<AtomicUsize>,
}

impl ApiServer {
    pub fn start(listen: Ipv4Addr) -> Self {
        let listener = TcpListener::bind((listen, 0)).unwrap();
        let server = Self { address: listener.local_addr().unwrap(), replicas: Arc::default() };
        let replicas = Arc::clone(&server.replicas);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let replicas = Arc::clone(&replicas);
                // Whoever asked may be gone, or cut off.
                std::thread::spawn(move || stream.and_then(|stream| serve(stream, &replicas)).ok());
            }
        });
        server
    }

    /// What `kubectl scale` writes.
    pub fn set_replicas(&self, replicas: usize) {
        self.replicas.store(replicas, Ordering::Relaxed);
    }

    /// Writes the file by which pods find the server.
    pub fn write_kubeconfig(&self, directory: &Path) -> PathBuf {
        let path = directory.join("kubeconfig.yaml");
        let text = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "test",
            "clusters": [{"name": "test", "cluster": {"server": format!("http://{}", self.address)}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test", "namespace": "default"}}],
            "users": [{"name": "test", "user": {}}],
        });
        std::fs::write(&path, text.to_string()).unwrap();
        path
    }
}

/// One request and its answer.
fn serve(mut stream: TcpStream, replicas: &AtomicUsize) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let request = lines.next().unwrap_or_else(|| Ok(String::new()))?;
    for line in lines {
        if line?.is_empty() {
            break;
        }
    }
    let (code, body) = answer(&request, replicas);
    if request.contains("watch=") {
        std::thread::sleep(WATCH_TIME);
    }
    let head = format!("HTTP/1.1 {code}\r\ncontent-type: application/json\r\nconnection: close\r\n");
    write!(stream, "{head}content-length: {}\r\n\r\n{body}", body.len())
}

fn answer(request: &str, replicas: &AtomicUsize) -> (&'static str, String) {
    let path = request.strip_prefix("GET ").and_then(|rest| rest.split([' ', '?']).next());
    let stateful_set = json!({
        "apiVersion": "apps/v1", "kind": "StatefulSet",
        "metadata": {"name": "quorate", "namespace": "default", "uid": "1", "resourceVersion": "1"},
        "spec": {
            "replicas": replicas.load(Ordering::Relaxed), "serviceName": "quorate-peers",
            "selector": {}, "template": {},
        },
    });
    let (code, body) = match path {
        Some("/apis/apps/v1/namespaces/default/statefulsets") if request.contains("watch=") => {
            ("200 OK", json!({"type": "ERROR", "object": failure(410, "Expired")}))
        }
        Some("/apis/apps/v1/namespaces/default/statefulsets") => (
            "200 OK",
            json!({
                "apiVersion": "apps/v1", "kind": "StatefulSetList", "metadata": {"resourceVersion": "1"},
                "items": [stateful_set],
            }),
        ),
        Some("/apis/apps/v1/namespaces/default/statefulsets/quorate") => ("200 OK", stateful_set),
        _ => ("403 Forbidden", failure(403, "Forbidden")),
    };
    (code, format!("{body}\n"))
}

fn failure(code: u16, reason: &str) -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": reason, "reason": reason, "code": code})
}
