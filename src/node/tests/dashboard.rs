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
    for (path, status) in [("/api/cluster", 403), ("/api/stream", 403), ("/", 200)] {
        let asked = format!("GET {path} HTTP/1.0\r\nhost: {own}\r\nsec-fetch-site: cross-site\r\n\r\n");
        let answer = talk(a.admin_address, asked.as_bytes()).await;
        assert_eq!(answer.status, status, "{path}, asked by a foreign page: {}", answer.text());
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
    for body in [
        "",
        "{",
        "[]",
        "null",
        "{\"queue\":1}",
        "{\"queue\":\"q\",\"text\":\"x\",\"more\":1}",
        "{\"queue\":\"q\",\"text\":\"x\",\"headers\":{\"k\":\"1\",\"k\":\"2\"}}",
        "\u{0}",
    ] {
        let wrong = post_with(&a, "/api/queue/send", body.as_bytes(), "").await;
        assert_eq!((wrong.status, wrong.reason()), (400, reasons::INVALID_REQUEST.to_owned()), "{body:?}");
    }
    let deep = post_with(&a, "/api/queue/send", "[".repeat(1 << 20).as_bytes(), "").await;
    assert_eq!(deep.status, 400, "{}", deep.text());
    let large = post_with(&a, "/api/queue/send", &vec![b' '; 8 << 20], "").await;
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

/// The log of a node: of the one that is asked, and of another.
#[tokio::test]
async fn the_log_of_every_node_is_shown_and_searched() {
    let directory = TempDir::new().unwrap();
    let a = start_alone(directory.path()).await;
    let b = start_node(config("b", directory.path(), &[&a])).await;
    eventually("b to vote", async || (get(&b, "/api/cluster").await.json()["voters_up"] == 2).then_some(())).await;
    for number in 0..30 {
        let text = if number % 10 == 3 { format!("Needle {number}") } else { format!("hay {number}") };
        execute(&a, vec![enqueue("orders", &text)]).await.unwrap();
    }
    let last = a.handle.status(SHARD_0).unwrap().last.index.0;
    eventually("b to have it all", async || {
        let told = get(&a, "/api/log?node=b&limit=1").await;
        (told.status == 200 && told.json()["commit"].as_u64() >= Some(last)).then_some(())
    })
    .await;
    let parts = [get(&a, "/api/log?from=1&limit=1000").await, get(&a, "/api/log?node=b&from=1&limit=1000").await];
    let [of_a, of_b] = parts.map(|part| part.json()["entries"].as_array().expect("a list").clone());
    assert_eq!(of_a.len() as u64, last);
    let digests = |entries: &[Value]| entries.iter().map(|entry| entry["digest"].clone()).collect::<Vec<_>>();
    assert_eq!(digests(&of_a), digests(&of_b));
    assert_eq!(of_a.last().unwrap()["operations"][0]["text"], "hay 29", "{:?}", of_a.last());
    let tail = get(&a, "/api/log?limit=2").await.json();
    assert_eq!((tail["entries"][0]["index"].as_u64(), tail["last"].as_u64()), (Some(last - 1), Some(last)));
    assert_eq!(get(&a, &format!("/api/log?from={}", last + 5)).await.json()["entries"], json!([]));

    let texts = |found: &Value| -> Vec<String> {
        let entries = found["entries"].as_array().unwrap().iter();
        entries.map(|entry| entry["operations"][0]["text"].as_str().unwrap().to_owned()).collect()
    };
    let found = get(&a, "/api/log/search?node=b&text=nEEdle&kind=command&queue=orders").await.json();
    assert_eq!(
        (texts(&found), &found["next"]),
        (vec!["Needle 3".into(), "Needle 13".into(), "Needle 23".into()], &Value::Null)
    );
    let found = get(&a, "/api/log/search?text=needle&direction=backward&limit=2").await.json();
    assert_eq!(texts(&found), ["Needle 23", "Needle 13"]);
    let next = found["next"].as_u64().expect("there is more");
    let found = get(&a, &format!("/api/log/search?text=needle&direction=backward&limit=2&from={next}")).await.json();
    assert_eq!((texts(&found), &found["next"]), (vec!["Needle 3".to_owned()], &Value::Null));
    for beyond in [last + 1, u64::MAX] {
        let found = get(&a, &format!("/api/log/search?from={beyond}")).await.json();
        assert_eq!((&found["entries"], &found["next"]), (&json!([]), &Value::Null), "all lies before {beyond}");
    }
    assert_eq!(get(&a, "/api/log/search?kind=configuration").await.json()["entries"][0]["voters"], json!(["a"]));

    for (path, status, reason) in [
        ("/api/log?node=nobody", 404, "NODE_NOT_FOUND"),
        ("/api/log?from=x", 400, reasons::INVALID_REQUEST),
        ("/api/log?from=-1", 400, reasons::INVALID_REQUEST),
        ("/api/log?unknown=1", 400, reasons::INVALID_REQUEST),
        ("/api/log/search?direction=sideways", 400, reasons::INVALID_REQUEST),
        ("/api/history?node=nobody", 404, "NODE_NOT_FOUND"),
        ("/api/queue?name=nobody", 404, reasons::QUEUE_NOT_FOUND),
        ("/api/queue", 400, reasons::INVALID_REQUEST),
        ("/api/queue?name=", 400, reasons::INVALID_QUEUE_NAME),
        ("/api/queue?name=no%20spaces", 400, reasons::INVALID_QUEUE_NAME),
        ("/api/queue/messages?name=", 400, reasons::INVALID_QUEUE_NAME),
    ] {
        let refused = get(&a, path).await;
        assert_eq!((refused.status, refused.reason()), (status, reason.to_owned()), "{path}: {}", refused.text());
    }
    b.stop().await.unwrap();
    a.stop().await.unwrap();
}

/// Takes a message; returns the token of its lease.
async fn lease_one(node: &Running, queue: &str) -> String {
    let lease = operation(Verb::Lease(v1::Lease { queue: queue.into(), limit: 1, ..Default::default() }));
    let leased = execute(node, vec![lease]).await.unwrap();
    let Some(Kind::Leased(leased)) = &leased.outcomes[0].outcome else { panic!("{leased:?}") };
    leased.messages[0].lease_token.clone()
}

async fn reject(node: &Running, queue: &str, token: String, reason: &str) {
    let how = v1::settlement::How::Reject(v1::Reject { reason: reason.into() });
    let settlements = vec![v1::Settlement { token, how: Some(how) }];
    let settle = v1::Settle { queue: queue.into(), settlements, all_or_none: false };
    execute(node, vec![operation(Verb::Settle(settle))]).await.unwrap();
}

#[tokio::test]
async fn where_content_is_masked_no_answer_has_it() {
    let directory = TempDir::new().unwrap();
    let mut config = config("a", directory.path(), &[]);
    config.admin.show_content = false;
    let a = start_node(config).await;
    eventually("the only node to lead", async || execute(&a, vec![enqueue("orders", "S3cret")]).await.ok()).await;
    assert_eq!(get(&a, "/api/cluster").await.json()["show_content"], false);
    let traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let headers = json!({"k3y": "v4lue", "traceparent": traceparent});
    let sent = post(&a, "/api/queue/send", &json!({"queue": "orders", "text": "S3cret", "headers": headers})).await;
    assert_eq!(sent.status, 200, "{}", sent.text());
    let token = lease_one(&a, "orders").await;
    reject(&a, "orders", token, "b3cause").await;
    let mut page = Page::open(&a).await;
    let streamed = [page.next("cluster").await, page.next("queues").await].map(|told| told.to_string());
    let mut answers = streamed.to_vec();
    for path in [
        "/api/log?from=1",
        "/api/log/search?queue=orders",
        "/api/queue/messages?name=orders",
        "/api/queue/messages?name=orders&state=dead",
        "/api/queue?name=orders",
        "/api/events",
    ] {
        let answer = get(&a, path).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        answers.push(answer.text());
    }
    for hidden in ["S3cret", "k3y", "v4lue", "b3cause", "0af7651916cd"] {
        assert!(answers.iter().all(|answer| !answer.contains(hidden)), "{hidden}: {answers:?}");
        let found = get(&a, &format!("/api/log/search?text={}", hidden.to_lowercase())).await.json();
        assert_eq!(found["entries"], json!([]), "{hidden}");
    }
    assert_eq!(get(&a, "/api/queue/messages?name=orders").await.json()["messages"][0]["bytes"], 6);
    a.stop().await.unwrap();
}

#[tokio::test]
async fn what_happened_and_what_queues_hold_comes_over_the_stream() {
    let directory = TempDir::new().unwrap();
    let a = start_alone(directory.path()).await;
    for queue in ["orders", "mail", "mail"] {
        execute(&a, vec![enqueue(queue, "x")]).await.unwrap();
    }
    let mut page = Page::open(&a).await;
    let names = |events: &Value| -> Vec<String> {
        let events = events["events"].as_array().unwrap().iter();
        events
            .map(|event| format!("{} {}", event["name"].as_str().unwrap(), event["event"].as_str().unwrap()))
            .collect()
    };
    let mut seen = Vec::new();
    while !seen.iter().any(|event| event == "a becomes_leader") {
        seen.extend(names(&page.next("events").await));
    }
    assert!(names(&get(&a, "/api/events").await.json()).iter().any(|event| event == "a becomes_leader"));
    while page.next("queues").await["totals"]["ready"] != 3 {}
    let list = get(&a, "/api/queues?sort=ready&limit=1").await.json();
    assert_eq!(
        (&list["queues"][0]["name"], &list["queues"][0]["ready"], &list["more"]),
        (&json!("mail"), &json!(2), &json!(true))
    );
    let mail = get(&a, "/api/queue?name=mail").await.json();
    assert_eq!((&mail["queue"]["ready"], &mail["counts"]["enqueued"]), (&json!(2), &json!(2)), "{mail}");
    let messages = get(&a, "/api/queue/messages?name=mail").await.json();
    assert_eq!((messages["messages"].as_array().unwrap().len(), &messages["messages"][0]["text"]), (2, &json!("x")));
    let history = get(&a, "/api/history").await.json();
    assert_eq!(history["step_ms"], 5000);
    assert!(history["series"]["memory"].as_array().is_some_and(|memory| !memory.is_empty()), "{history}");
    a.stop().await.unwrap();
}

/// A message that was rejected: where it is, why, and back again.
#[tokio::test]
async fn dead_letters_are_shown_and_redriven() {
    let directory = TempDir::new().unwrap();
    let a = start_alone(directory.path()).await;
    let sent =
        post(&a, "/api/queue/send", &json!({"queue": "orders", "text": "burnt", "headers": {"kind": "pizza"}})).await;
    assert_eq!(sent.status, 200, "{}", sent.text());
    let set = post(&a, "/api/queue/settings", &json!({"queue": "orders", "lease_ms": 5000, "deliveries_max": 7})).await;
    assert_eq!((set.status, &set.json()["settings"]["lease_ms"]), (200, &json!(5000)), "{}", set.text());
    let token = lease_one(&a, "orders").await;
    let of = async |state: &str| {
        get(&a, &format!("/api/queue/messages?name=orders&state={state}")).await.json()["messages"].clone()
    };
    let held = of("leased").await;
    assert_eq!((&held[0]["text"], held[0]["due_at"].is_u64()), (&json!("burnt"), true), "{held}");

    reject(&a, "orders", token, "too hot").await;
    let dead = of("dead").await;
    assert!(dead[0]["reason"].as_str().is_some_and(|reason| reason.contains("too hot")), "{dead}");
    assert_eq!((&dead[0]["headers"]["kind"], &dead[0]["deliveries"]), (&json!("pizza"), &json!(1)), "{dead}");
    let queue = eventually("the list to be read again", async || {
        let detail = get(&a, "/api/queue?name=orders").await.json();
        (detail["queue"]["dead"] == 1).then_some(detail)
    })
    .await;
    assert_eq!((&queue["settings"]["deliveries_max"], &queue["counts"]["dead_lettered"]), (&json!(7), &json!(1)));
    let log = get(&a, "/api/log/search?text=too%20hot").await.json();
    assert_eq!(log["entries"].as_array().unwrap().len(), 1, "{log}");

    let moved = post(&a, "/api/queue/redrive", &json!({"queue": "orders", "limit": 10})).await;
    assert_eq!((moved.status, &moved.json()["moved"]), (200, &json!(1)), "{}", moved.text());
    assert_eq!(of("ready").await[0]["text"], "burnt");
    for path in ["/api/queue/messages?name=orders&state=lost", "/api/queue/messages?name=orders&after=x"] {
        assert_eq!(get(&a, path).await.reason(), reasons::INVALID_REQUEST, "{path}");
    }
    let missing = post(&a, "/api/queue/redrive", &json!({"queue": "nobody"})).await;
    assert_eq!((missing.status, missing.reason()), (404, reasons::QUEUE_NOT_FOUND.to_owned()));
    a.stop().await.unwrap();
}

/// Asked of the node that does not lead.
#[tokio::test]
async fn members_are_changed_through_the_page_of_any_node() {
    let directory = TempDir::new().unwrap();
    let a = start_alone(directory.path()).await;
    let b = start_node(config("b", directory.path(), &[&a])).await;
    eventually("b to vote", async || (get(&b, "/api/cluster").await.json()["voters_up"] == 2).then_some(())).await;
    let plan = async |change: &Value| post(&b, "/api/members/plan", change).await.json();
    let transfer = json!({"action": "transfer", "member": "b"});
    let planned = eventually("b to be heard", async || {
        let planned = plan(&transfer).await;
        (planned["allowed"] == true).then_some(planned)
    })
    .await;
    assert_eq!(planned["leader_after"], "b", "{planned}");
    let done = post(&b, "/api/members/change", &transfer).await;
    assert_eq!((done.status, &done.json()["text"]), (200, &json!("b leads.")), "{}", done.text());

    // What follows at once is planned by what is, and not by what the page has seen.
    let remove = json!({"action": "remove", "member": a.handle.node().to_string()});
    let planned = plan(&remove).await;
    assert_eq!((&planned["allowed"], &planned["leader_after"]), (&json!(true), &json!("b")), "{planned}");
    let removed = post(&b, "/api/members/change", &remove).await;
    assert_eq!(removed.status, 200, "{}", removed.text());
    let last = json!({"action": "remove", "member": "b"});
    let planned = plan(&last).await;
    assert!(planned["why"].as_str().is_some_and(|why| why.contains("last voter")), "{planned}");
    let refused = post(&b, "/api/members/change", &last).await;
    assert_eq!((refused.status, refused.reason()), (409, reasons::WOULD_LOSE_QUORUM.to_owned()));
    for wrong in [json!({"action": "explode", "member": "b"}), json!({"action": "remove"}), json!(null)] {
        let refused = post(&b, "/api/members/plan", &wrong).await;
        assert_eq!((refused.status, refused.reason()), (400, reasons::INVALID_REQUEST.to_owned()), "{wrong}");
    }
    b.stop().await.unwrap();
    let _ = a.stop().await;
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
