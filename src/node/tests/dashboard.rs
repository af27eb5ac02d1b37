//! The admin port of real nodes: what it answers, to whom, and whom it bears.

use serde_json::{Value, json};

use super::*;
use crate::transport::{Limits, Listener};

/// What came back.
struct Answer {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    fn text(&self) -> String {
        format!("{}\n{}", self.head, String::from_utf8_lossy(&self.body))
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }

    fn reason(&self) -> String {
        self.json()["error"]["reason"].as_str().unwrap_or_else(|| panic!("no reason: {}", self.text())).to_owned()
    }
}

/// Sends these bytes and reads to the end.
async fn talk(address: std::net::SocketAddr, request: &[u8]) -> Answer {
    let mut stream = TcpStream::connect(address).await.expect("the admin port is open");
    // A server that refuses a body reads no more of it.
    let _ = stream.write_all(request).await;
    let mut answer = Vec::new();
    let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await;
    let _ = read.expect("it is answered or closed");
    let end = answer.windows(4).position(|part| part == b"\r\n\r\n").unwrap_or(answer.len());
    let head = String::from_utf8(answer[..end].to_vec()).unwrap();
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    Answer { status, head, body: answer.get(end + 4..).unwrap_or_default().to_vec() }
}

async fn get(node: &Running, path: &str) -> Answer {
    get_as(node, path, &node.admin_address.to_string()).await
}

async fn get_as(node: &Running, path: &str, host: &str) -> Answer {
    talk(node.admin_address, format!("GET {path} HTTP/1.0\r\nhost: {host}\r\n\r\n").as_bytes()).await
}

/// As the node's own page sends it, and with `more` headers.
async fn post_with(node: &Running, path: &str, body: &[u8], more: &str) -> Answer {
    let (host, length) = (node.admin_address, body.len());
    let head = format!(
        "POST {path} HTTP/1.0\r\nhost: {host}\r\norigin: http://{host}\r\ncontent-type: application/json\r\n\
         x-quorate-request: 1\r\ncontent-length: {length}\r\n{more}\r\n"
    );
    talk(node.admin_address, &[head.as_bytes(), body].concat()).await
}

async fn post(node: &Running, path: &str, body: &Value) -> Answer {
    post_with(node, path, body.to_string().as_bytes(), "").await
}

fn node<'a>(cluster: &'a Value, name: &str) -> &'a Value {
    let nodes = cluster["nodes"].as_array().expect("a list");
    nodes.iter().find(|node| node["name"] == name).unwrap_or_else(|| panic!("no {name} in {cluster}"))
}

#[tokio::test]
async fn a_node_shows_itself() {
    let directory = TempDir::new().unwrap();
    let a = start_alone(directory.path()).await;
    let answer = eventually("what was gathered since it leads", async || {
        let answer = get(&a, "/api/cluster").await;
        answer.json()["leader"].is_string().then_some(answer)
    })
    .await;
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")), "{}", answer.text());
    let cluster = answer.json();
    let id = a.handle.node().to_string();
    assert_eq!((&cluster["asked"], &cluster["leader"]), (&json!({"id": id, "name": "a"}), &json!(id)));
    assert_eq!([&cluster["voters"], &cluster["voters_up"], &cluster["needed"], &cluster["tolerates"]], [1, 1, 1, 0]);
    assert_eq!((&cluster["token_needed"], &cluster["quorum"]), (&json!(false), &json!("majority")));
    // How full the disk of this machine is, is not the matter of this test.
    let alarms = cluster["alarms"].as_array().unwrap().iter().filter(|alarm| alarm["code"] != "disk_full");
    assert_eq!(alarms.count(), 0, "{cluster}");
    let told = node(&cluster, "a");
    assert_eq!((&told["role"], &told["membership"], &told["lag"]), (&json!("leader"), &json!("voter"), &json!(0)));
    assert!(told["last"].as_u64().is_some_and(|last| last > 0), "{told}");
    a.stop().await.unwrap();
}

/// Whatever is asked, and whether it is answered or refused.
#[tokio::test]
async fn every_answer_tells_browsers_to_be_strict() {
    let directory = TempDir::new().unwrap();
    let a = start_alone(directory.path()).await;
    let policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
                  base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'";
    let own = a.admin_address.to_string();
    for (path, host, status) in [
        ("/", own.as_str(), 200),
        ("/index.html", "localhost", 200),
        ("/api/cluster", "a:7402", 200),
        ("/api/nothing", &own, 404),
        ("/nothing", &own, 404),
        ("/", "evil.example", 421),
        ("/api/cluster", "evil.example", 421),
    ] {
        let answer = get_as(&a, path, host).await;
        assert_eq!(answer.status, status, "{path} of {host}: {}", answer.text());
        assert_eq!(answer.header("content-security-policy"), Some(policy), "{path} of {host}");
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{path} of {host}");
        assert_eq!(answer.header("referrer-policy"), Some("no-referrer"), "{path} of {host}");
        assert_eq!(answer.header("cross-origin-opener-policy"), Some("same-origin"), "{path} of {host}");
        assert_eq!(answer.header("cross-origin-resource-policy"), Some("same-origin"), "{path} of {host}");
        let cached = if status == 200 && !path.starts_with("/api") { "no-cache" } else { "no-store" };
        assert_eq!(answer.header("cache-control"), Some(cached), "{path} of {host}: {}", answer.head);
    }
    let refused = get_as(&a, "/api/cluster", "evil.example").await;
    assert_eq!(refused.reason(), "HOST_NOT_ALLOWED");
    assert!(refused.text().contains("admin.hosts"), "{}", refused.text());
    a.stop().await.unwrap();
}

#[tokio::test]
async fn files_are_found_by_their_own_names_only() {
    let directory = TempDir::new().unwrap();
    let a = start_alone(directory.path()).await;
    let page = get(&a, "/").await;
    assert!(page.text().contains("<!doctype html>"), "{}", page.text());
    let etag = page.header("etag").expect("it can be asked whether it has changed").to_owned();
    let again = format!("GET / HTTP/1.0\r\nhost: localhost\r\nif-none-match: {etag}\r\n\r\n");
    assert_eq!(talk(a.admin_address, again.as_bytes()).await.status, 304);
    let script = get(&a, "/app.js").await;
    assert_eq!((script.status, script.header("content-type")), (200, Some("text/javascript")), "{}", script.head);
    for path in [
        "/../Cargo.toml",
        "/..%2f..%2fCargo.toml",
        "/%2e%2e/%2e%2e/etc/passwd",
        "//etc/passwd",
        "/web/index.html",
        "/app.js/",
        "/app.js%00",
        "/lib",
        "/lib/",
        "/.git/config",
        "/index.html/../../x",
        "/api",
        "/api/",
        "/api/../app.js",
        "/%",
    ] {
        let answer = get(&a, path).await;
        assert!([400, 404].contains(&answer.status), "{path}: {}", answer.text());
    }
    a.stop().await.unwrap();
}

#[tokio::test]
async fn what_is_not_there_is_said_as_json_below_api() {
    let directory = TempDir::new().unwrap();
    let a = start_alone(directory.path()).await;
    let missing = get(&a, "/api/nothing").await;
    assert_eq!((missing.status, missing.reason()), (404, "NOT_FOUND".to_owned()));
    let wrong = post(&a, "/api/cluster", &json!({})).await;
    assert_eq!((wrong.status, wrong.reason()), (405, "METHOD_NOT_ALLOWED".to_owned()));
    assert!(wrong.header("allow").is_some_and(|allowed| allowed.contains("GET")), "{}", wrong.head);
    let wrong = get(&a, "/api/queue/send").await;
    assert_eq!((wrong.status, wrong.reason()), (405, "METHOD_NOT_ALLOWED".to_owned()));
    a.stop().await.unwrap();
}

#[tokio::test]
async fn a_message_is_sent_and_what_cannot_be_is_refused_in_words() {
    let directory = TempDir::new().unwrap();
    let a = start_alone(directory.path()).await;
    let sent = post(&a, "/api/queue/send", &json!({"queue": "orders", "text": "one pizza"})).await;
    assert_eq!(sent.status, 200, "{}", sent.text());
    assert_eq!(text(&execute(&a, vec![dequeue("orders", Duration::ZERO)]).await.unwrap()), Some("one pizza"));
    let named = post(&a, "/api/queue/send", &json!({"queue": "no spaces", "text": "x"})).await;
    assert_eq!((named.status, named.reason()), (400, reasons::INVALID_QUEUE_NAME.to_owned()), "{}", named.text());
    for body in ["", "{", "[]", "null", "{\"queue\":1}", "{\"queue\":\"q\",\"text\":\"x\",\"more\":1}", "\u{0}"] {
        let wrong = post_with(&a, "/api/queue/send", body.as_bytes(), "").await;
        assert_eq!((wrong.status, wrong.reason()), (400, reasons::INVALID_REQUEST.to_owned()), "{body:?}");
    }
    let deep = post_with(&a, "/api/queue/send", "[".repeat(1 << 20).as_bytes(), "").await;
    assert_eq!(deep.status, 400, "{}", deep.text());
    let large = post_with(&a, "/api/queue/send", &vec![b' '; 3 << 20], "").await;
    assert_eq!((large.status, large.reason()), (413, reasons::REQUEST_TOO_LARGE.to_owned()));
    a.stop().await.unwrap();
}

#[tokio::test]
async fn a_change_needs_the_token_and_nothing_else_does() {
    let directory = TempDir::new().unwrap();
    let mut config = config("a", directory.path(), &[]);
    config.admin.token = Some("0123456789-abcdef".parse().unwrap());
    let a = start_node(config).await;
    eventually("the only node to lead", async || execute(&a, vec![list()]).await.ok()).await;
    assert_eq!(get(&a, "/api/cluster").await.json()["token_needed"], true);
    let send = json!({"queue": "orders", "text": "x"}).to_string();
    for (header, status, reason) in [
        ("", 401, "TOKEN_NEEDED"),
        ("authorization: Bearer wrong\r\n", 403, "TOKEN_WRONG"),
        ("authorization: Bearer 0123456789-abcdef\r\nsec-fetch-site: cross-site\r\n", 403, "CROSS_SITE"),
    ] {
        let refused = post_with(&a, "/api/queue/send", send.as_bytes(), header).await;
        assert_eq!((refused.status, refused.reason()), (status, reason.to_owned()), "{header}");
    }
    assert_eq!(text(&execute(&a, vec![dequeue("orders", Duration::ZERO)]).await.unwrap()), None);
    let header = "authorization: Bearer 0123456789-abcdef\r\n";
    let sent = post_with(&a, "/api/queue/send", send.as_bytes(), header).await;
    assert_eq!(sent.status, 200, "{}", sent.text());
    a.stop().await.unwrap();
}

/// A page that is open.
struct Page {
    stream: TcpStream,
    text: String,
}

impl Page {
    async fn open(node: &Running) -> Self {
        let mut stream = TcpStream::connect(node.admin_address).await.expect("the admin port is open");
        let request = format!("GET /api/stream HTTP/1.0\r\nhost: {}\r\n\r\n", node.admin_address);
        stream.write_all(request.as_bytes()).await.unwrap();
        Self { stream, text: String::new() }
    }

    /// The next message of this kind.
    async fn next(&mut self, event: &str) -> Value {
        loop {
            while let Some((message, rest)) = self.text.split_once("\n\n") {
                let (message, rest) = (message.to_owned(), rest.to_owned());
                self.text = rest;
                if let Some(data) = message.strip_prefix(&format!("event: {event}\ndata: ")) {
                    return serde_json::from_str(data).unwrap();
                }
            }
            let mut piece = [0; 64 << 10];
            let read = tokio::time::timeout(PATIENCE, self.stream.read(&mut piece)).await.expect("it goes on").unwrap();
            assert!(read > 0, "the stream has ended: {}", self.text);
            self.text = (self.text.clone() + std::str::from_utf8(&piece[..read]).unwrap()).replace("\r\n", "\n");
        }
    }
}

/// A member that never answered is on the page with nothing that it said; one that is removed is not.
#[tokio::test]
async fn a_page_that_is_open_hears_of_members_that_come_and_go() {
    let directory = TempDir::new().unwrap();
    let a = start_alone(directory.path()).await;
    let mut page = Page::open(&a).await;
    while page.next("cluster").await["voters"] != 1 {}
    let b = start_node(config("b", directory.path(), &[&a])).await;
    loop {
        let cluster = page.next("cluster").await;
        if cluster["voters_up"] == 2 {
            assert_eq!((&node(&cluster, "b")["role"], &cluster["tolerates"]), (&json!("follower"), &json!(0)));
            break;
        }
    }
    let id = "00000000000000cc";
    let (client_address, peer_address) = ("127.0.0.1:1".to_owned(), "127.0.0.1:2".to_owned());
    let member =
        v1::Member { node_id: id.into(), name: "c".into(), client_address, peer_address, ..Default::default() };
    let add = v1::AddMemberRequest { member: Some(member), stay_learner: true };
    eventually("c to be let in", async || cluster(&a).await.add_member(add.clone()).await.ok()).await;
    let silent = |cluster: &Value| {
        cluster["alarms"].as_array().unwrap().iter().any(|alarm| alarm["code"] == "unreachable" && alarm["node"] == id)
    };
    let told = loop {
        let told = page.next("cluster").await;
        if silent(&told) {
            break told;
        }
    };
    let c = node(&told, "c");
    assert_eq!([&c["reachable"], &c["seen_at"], &c["role"]], [&json!(false), &Value::Null, &Value::Null], "{c}");
    let remove = || v1::RemoveMemberRequest { members: vec!["c".to_owned()] };
    eventually("c to be removed", async || cluster(&a).await.remove_member(remove()).await.ok()).await;
    while page.next("cluster").await["nodes"].as_array().unwrap().len() > 2 {}
    b.stop().await.unwrap();
    a.stop().await.unwrap();
}

/// More pages than a node serves: those that are open stay, and one that closes makes room.
#[tokio::test]
async fn so_many_pages_and_no_more() {
    let directory = TempDir::new().unwrap();
    let a = start_alone(directory.path()).await;
    let mut pages = Vec::new();
    for _ in 0..64 {
        let mut page = Page::open(&a).await;
        page.next("cluster").await;
        pages.push(page);
    }
    let one_more = get(&a, "/api/stream").await;
    assert_eq!((one_more.status, one_more.reason()), (503, reasons::OVERLOADED.to_owned()));
    pages[0].next("cluster").await;
    pages.pop();
    eventually("a place for one more", async || {
        let mut page = Page::open(&a).await;
        let mut first = [0; 12];
        page.stream.read_exact(&mut first).await.ok()?;
        (&first == b"HTTP/1.0 200").then_some(())
    })
    .await;
    a.stop().await.unwrap();
}

/// While the log is read there is a page, and it says so.
#[tokio::test]
async fn the_port_answers_before_the_log_is_recovered() {
    let listener = Listener::bind("127.0.0.1:0", Limits::for_admin()).await.unwrap();
    let address = listener.local_address().unwrap();
    let advertised = address.to_string().parse().unwrap();
    let _dashboard = crate::dashboard::Dashboard::start(listener, &NodeConfig::default(), &advertised);
    let ask =
        async |path: &str| talk(address, format!("GET {path} HTTP/1.0\r\nhost: {address}\r\n\r\n").as_bytes()).await;
    assert_eq!(ask("/").await.status, 200);
    for path in ["/api/cluster", "/api/stream"] {
        let answer = ask(path).await;
        assert_eq!((answer.status, answer.reason()), (503, "RECOVERING".to_owned()), "{path}");
    }
}

/// Many connections that say nothing, or half a request: whoever comes gets in all the same.
#[tokio::test]
async fn whoever_comes_is_answered_while_others_hold_all_places() {
    let directory = TempDir::new().unwrap();
    let a = start_alone(directory.path()).await;
    let mut held = Vec::new();
    for said in ["", "GET /api/stream HTTP/1.1\r\nhost: a\r\n", "GET /api/cluster HTTP/1.1\r\nhost: a\r\n\r\n"] {
        for _ in 0..300 {
            let mut stream = TcpStream::connect(a.admin_address).await.unwrap();
            let _ = stream.write_all(said.as_bytes()).await;
            held.push(stream);
        }
        assert_eq!(get(&a, "/api/cluster").await.status, 200, "among those who say {said:?}");
    }
    a.stop().await.unwrap();
}

#[tokio::test]
async fn an_admin_port_in_use_is_named_and_nothing_is_formatted() {
    let directory = TempDir::new().unwrap();
    let node = start_alone(directory.path()).await;
    let mut second = config("b", directory.path(), &[]);
    second.admin.listen = Some(node.admin_address.to_string().parse().unwrap());
    let told = start(second, Telemetry::default()).await.unwrap_err().to_string();
    assert!(told.contains(&node.admin_address.to_string()) && told.contains("admin.listen"), "{told}");
    assert!(!directory.path().join("b").exists(), "nothing was changed");
    node.stop().await.unwrap();
}
