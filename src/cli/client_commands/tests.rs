//! What the commands print, against nodes that run in this process.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use clap::Parser;
use serde_json::{Value, json};
use tonic::Code;

use super::connection::execute;
use super::console::Console;
use super::*;
use crate::cli::{Cli, Command};
use crate::client::fake::{FakeNode, Step, World, cluster};
use crate::client::{self, Body, Client, Options};
use crate::proto::v1;
use crate::proto::v1::log_entry::Content;
use crate::proto::v1::operation::Operation as Verb;
use crate::reasons;

/// What a command wrote to standard output.
#[derive(Clone, Default)]
struct Printed(Arc<Mutex<Vec<u8>>>);

impl Write for Printed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// One node, and the commands of a user who talks to it.
struct User {
    node: FakeNode,
    world: Arc<Mutex<World>>,
    terminal: bool,
}

impl User {
    async fn new() -> Self {
        let (mut nodes, world) = cluster(1).await;
        Self { node: nodes.remove(0), world, terminal: false }
    }

    /// Runs `quorate LINE` and returns what it printed, and how it ended.
    async fn types(&self, line: &str) -> (String, Result<(), Error>) {
        let arguments: Vec<_> = line.split(' ').collect();
        self.types_each(&arguments).await
    }

    async fn types_each(&self, arguments: &[&str]) -> (String, Result<(), Error>) {
        let (verb, rest) = arguments.split_at(1);
        // Not at the end: what stands after `--` is no option.
        let arguments = [verb, &["--endpoints", &self.node.address], rest].concat();
        let command = parse(&arguments).expect("it is a good command");
        let printed = Printed::default();
        let mut console = Console::new(printed.clone(), command.options().output, self.terminal);
        let options = Options { timeout: Some(Duration::from_millis(600)), ..Options::default() };
        let client = Client::new(command.options().endpoints.clone(), options).expect("it is an address");
        let result = execute(&client, &command, &mut console).await;
        client.close().await;
        let bytes = std::mem::take(&mut *printed.0.lock().unwrap());
        (String::from_utf8_lossy(&bytes).into_owned(), result)
    }

    /// The same, for a command that succeeds.
    async fn sees(&self, line: &str) -> String {
        let (text, result) = self.types(line).await;
        result.expect("the command succeeds");
        text
    }

    /// The same, for one JSON document.
    async fn sees_json(&self, line: &str) -> Value {
        serde_json::from_str(&self.sees(line).await).expect("one JSON document")
    }
}

fn parse(arguments: &[&str]) -> Result<ClientCommand, clap::Error> {
    match Cli::try_parse_from([&["quorate"], arguments].concat())?.command {
        Command::Client(command) => Ok(command),
        other => panic!("no client command: {other:?}"),
    }
}

#[tokio::test]
async fn messages_go_in_with_an_id_and_come_out_as_they_were() {
    let user = User::new().await;
    // The session is the entry at index 1.
    assert_eq!(user.types_each(&["enqueue", "jobs", "one\x1b[31m", "two"]).await.0, "0-2-0\n0-2-1\n");
    assert_eq!(
        user.sees("peek jobs").await,
        "\
ID     AGE  DELIVERIES  BYTES  BODY
0-2-0       0           8      one\\u{1b}[31m
0-2-1       0           3      two
"
    );
    assert_eq!(
        user.sees("queues").await,
        "QUEUE  READY  LEASED  DELAYED  DEAD  BYTES  OLDEST\njobs   2      0       0        0     10\n"
    );
    assert_eq!(user.sees("dequeue jobs").await, "one\x1b[31m\n");
    assert_eq!(user.sees("dequeue jobs --count 3 --wait 1ms").await, "two\n");
}

#[tokio::test]
async fn headers_go_in_and_come_out() {
    let user = User::new().await;
    user.sees("enqueue jobs --header kind=pizza --header a=b=c one two").await;
    user.sees("enqueue jobs three").await;
    let seen = user.sees("peek jobs").await;
    let expected = "\
ID     AGE  DELIVERIES  BYTES  HEADERS           BODY
0-2-0       0           3      a=b=c kind=pizza  one
0-2-1       0           3      a=b=c kind=pizza  two
0-5-0       0           5                        three
";
    assert_eq!(seen, expected);
    let taken = user.sees_json("dequeue jobs --output json").await;
    assert_eq!(taken["headers"], json!({ "a": "b=c", "kind": "pizza" }));
    for wrong in ["kind", "=pizza", "ki\u{e4}d=pizza"] {
        let error = parse(&["enqueue", "jobs", "--header", wrong, "one"]).expect_err(wrong);
        assert_eq!(error.exit_code(), i32::from(Exit::Usage.code()), "{wrong}");
    }
}

#[tokio::test]
async fn leased_messages_are_settled_with_their_tokens() {
    let user = User::new().await;
    user.sees("enqueue jobs one two three").await;
    let expected = "\
TOKEN    ID     DELIVERIES  BODY
2-0-5-0  0-2-0  1           one
2-1-5-0  0-2-1  1           two
";
    assert_eq!(user.sees("lease jobs --count 2 --for 5m").await, expected);
    assert_eq!(user.sees("extend jobs 2-0-5-0 --for 1h").await, "");
    assert_eq!(user.sees("ack jobs 2-0-5-0").await, "");
    let (text, result) = user.types("reject jobs 2-0-5-0 2-1-5-0 --reason late --output json").await;
    let results = json!([{ "token": "2-0-5-0", "done": false }, { "token": "2-1-5-0", "done": true }]);
    assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), json!({ "results": results }));
    let error = result.unwrap_err();
    assert_eq!(error.to_string(), "the lease has ended, and nothing was done about it: 2-0-5-0");
    assert_eq!(report::end(&error, Output::Json).unwrap(), Exit::Refused);
    let dead = user.sees("peek jobs --state dead").await;
    assert_eq!(
        dead,
        "ID     AGE  DELIVERIES  BYTES  DEAD BECAUSE  BODY\n0-2-1       1           3      late          two\n"
    );
    assert_eq!(user.sees("redrive jobs").await, "1\n");
    let leased = user.sees_json("lease jobs --output json").await;
    assert_eq!((&leased["text"], &leased["deliveries"]), (&json!("three"), &json!(1)));
    user.sees(&format!("release jobs {} --delay 1s", leased["lease_token"].as_str().unwrap())).await;
    let (_, result) = user.types("lease empty").await;
    assert_eq!(report::end(&result.unwrap_err(), Output::Table).unwrap(), Exit::QueueEmpty);
}

#[tokio::test]
async fn settings_of_a_queue_are_shown_when_they_are_changed() {
    let user = User::new().await;
    user.sees("enqueue jobs one").await;
    let expected = "QUEUE  LEASE  DELIVERIES  MESSAGES\njobs   5m     3           100\n";
    assert_eq!(user.sees("queue set jobs --lease 5m --deliveries 3").await, expected);
    let set = json!({ "queue": "jobs", "lease_duration": null, "deliveries_max": 20, "messages_max": 7 });
    assert_eq!(user.sees_json("queue set jobs --messages 7 --output json").await, set);
}

#[test]
fn cursors_are_the_ids_that_are_printed() {
    for wrong in ["12", "0-1", "0-1-4294967296", "0-1-2-3", "a-b-c"] {
        let error = parse(&["peek", "jobs", "--after", wrong]).expect_err(wrong);
        assert_eq!(error.exit_code(), i32::from(Exit::Usage.code()), "{wrong}");
    }
    parse(&["peek", "jobs", "--after", "0-12-3", "--state", "delayed"]).expect("an id");
}

#[tokio::test]
async fn a_terminal_sees_bodies_without_what_it_would_obey() {
    let user = User { terminal: true, ..User::new().await };
    user.types_each(&["enqueue", "jobs", "a\x1b[31m\nb"]).await.1.unwrap();
    assert_eq!(user.sees("dequeue jobs").await, "a\\u{1b}[31m\nb\n");
}

#[tokio::test]
async fn data_is_shown_in_hexadecimal_digits_and_printed_as_it_is() {
    let user = User::new().await;
    let client = Client::new(vec![user.node.address.clone()], Options::default()).unwrap();
    client.enqueue("jobs", vec![Body::Data(vec![0, 10, 255].into())]).await.unwrap();
    assert!(user.sees("peek jobs").await.ends_with("3      0x000aff\n"));
    assert_eq!(user.sees_json("peek jobs --output json").await["messages"][0]["data"], "AAr/");
    assert_eq!(user.sees("dequeue jobs").await, "\0\n\u{fffd}\n");
}

#[tokio::test]
async fn an_empty_queue_prints_nothing_and_has_an_exit_code() {
    let user = User::new().await;
    let (text, result) = user.types("dequeue jobs").await;
    let error = result.unwrap_err();
    assert_eq!(text, "");
    assert_eq!(error.to_string(), "queue 'jobs' is empty");
    assert_eq!(report::end(&error, Output::Table).unwrap(), Exit::QueueEmpty);
}

#[tokio::test]
async fn json_of_queue_commands() {
    let user = User::new().await;
    let ids = user.sees_json("enqueue jobs one two --output json").await;
    let [first, second] = [0, 1].map(|item| json!({ "shard": 0, "index": 2, "item": item }));
    assert_eq!(ids, json!({ "ids": [first, second] }));
    let message = |id, text| json!({ "id": id, "text": text, "headers": {}, "enqueued_at": null, "deliveries": 0 });
    let messages = json!([message(first, "one"), message(second, "two")]);
    let peeked = json!({ "queue": "jobs", "messages": messages, "age_ms": null });
    assert_eq!(user.sees_json("peek jobs --output json").await, peeked);
    let queue = json!({
        "name": "jobs", "ready": 2, "leased": 0, "delayed": 0, "dead": 0, "bytes": 10, "oldest": null, "settings": null,
        "enqueued": 0, "dequeued": 0, "acknowledged": 0, "redelivered": 0, "dead_lettered": 0,
    });
    let queues = json!({ "queues": [queue], "age_ms": null });
    assert_eq!(user.sees_json("queues --output json").await, queues);
    let lines = user.sees("dequeue jobs --count 9 --output json").await;
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(json!(lines), messages);
}

#[tokio::test]
async fn a_message_that_cannot_be_printed_is_named() {
    struct Closed;
    impl Write for Closed {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let user = User::new().await;
    user.sees("enqueue jobs one").await;
    for (line, exit) in [("peek jobs", Some(Exit::Done)), ("dequeue jobs", None)] {
        let arguments: Vec<_> = line.split(' ').collect();
        let mut console = Console::new(Closed, Output::Table, false);
        let client = Client::new(vec![user.node.address.clone()], Options::default()).unwrap();
        let error = execute(&client, &parse(&arguments).unwrap(), &mut console).await.unwrap_err();
        match report::end(&error, Output::Table) {
            Ok(end) => assert_eq!(Some(end), exit, "{line}"),
            Err(failure) => {
                assert_eq!(exit, None, "{line}");
                assert!(failure.lines()[0].starts_with("error: message 0-2-0 has left the queue"), "{failure:?}");
                assert_eq!(failure.exit, Exit::Failed);
            }
        }
    }
}

#[tokio::test]
async fn the_log_is_decoded() {
    let user = User::new().await;
    user.world.lock().unwrap().log = log_with_every_kind();
    let expected = "\
INDEX  TERM  COMMITTED  KIND           CONTENT
1      1     yes        configuration  voters 1 2; outgoing voters 3; learners 4
2      1     yes        noop
3      2     yes        command        enqueue jobs \"a\\nb\" k=v; dequeue jobs [session 7, 3]
4      2     yes        expiry         ends leases, delays and sessions whose time has passed
5      2     no         command        open_session
";
    // The fake's pages have two entries: columns that grow with a later page are wider from there on.
    let seen = user.sees("log").await;
    assert_eq!(seen, expected);
    let seen = user.sees("log --from 3 --limit 1").await;
    assert_eq!(seen.lines().count(), 2, "{seen}");
    let lines = user.sees("log --from 1 --limit 3 --output json").await;
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let configuration = json!({
        "index": 1, "term": 1, "committed": true, "kind": "configuration",
        "voters": ["1", "2"], "voters_outgoing": ["3"], "learners": ["4"],
    });
    let command = json!({
        "index": 3, "term": 2, "committed": true, "kind": "command", "session": 7, "sequence": 3,
        "time": "1970-01-01T00:00:01.500Z",
        "operations": [
            { "verb": "enqueue", "queue": "jobs", "text": "a\nb", "headers": { "k": "v" } },
            { "verb": "dequeue", "queue": "jobs" },
        ],
    });
    assert_eq!(lines[0], configuration);
    assert_eq!(lines[1]["kind"], "noop");
    assert_eq!(lines[2], command);
}

#[tokio::test]
async fn filters_of_the_log_are_combined() {
    let user = User::new().await;
    user.world.lock().unwrap().log = log_with_every_kind();
    for (filters, indexes) in [
        ("--kind configuration", vec![1]),
        ("--kind command", vec![3, 5]),
        ("--queue jobs", vec![3]),
        ("--queue job", vec![]),
        ("--verb dequeue", vec![3]),
        ("--verb dequeue --queue jobs --kind command --session 7", vec![3]),
        ("--verb dequeue --session 8", vec![]),
        // The session that the entry at index 5 opens.
        ("--session 5", vec![5]),
        ("--kind command --last 1", vec![5]),
        ("--kind command --limit 1", vec![3]),
        ("--from 4 --kind command", vec![5]),
        ("--since 1h", vec![]),
    ] {
        let lines = user.sees(&format!("log {filters} --output json")).await;
        let seen: Vec<u64> =
            lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["index"].as_u64().unwrap()).collect();
        assert_eq!(seen, indexes, "{filters}");
    }
}

/// Each line is a message; the summary is what is left of them on standard output.
#[tokio::test]
async fn lines_of_input_become_messages() {
    let user = User::new().await;
    let client = Client::new(vec![user.node.address.clone()], Options::default()).unwrap();
    let enqueue = async |input: &'static [u8], ids| {
        let printed = Printed::default();
        let mut console = Console::new(printed.clone(), Output::Json, false);
        let line: &[&str] = if ids { &["enqueue", "jobs", "-", "--ids"] } else { &["enqueue", "jobs", "-"] };
        let ClientCommand::Enqueue(with) = parse(line).unwrap() else { unreachable!("it is an enqueue") };
        let result = lines::Lines::new(&client, &with.command, &mut console).enqueue(input).await;
        let text = String::from_utf8(std::mem::take(&mut *printed.0.lock().unwrap())).unwrap();
        (text.lines().map(|line| serde_json::from_str(line).unwrap()).collect::<Vec<Value>>(), result)
    };
    let (printed, result) = enqueue(b"one\n\n\xff", false).await;
    result.unwrap();
    assert_eq!(printed, [json!({ "queue": "jobs", "enqueued": 3, "bytes": 4 })]);
    let seen = user.sees_json("peek jobs --output json").await;
    let bodies: Vec<_> =
        seen["messages"].as_array().unwrap().iter().map(|message| (&message["text"], &message["data"])).collect();
    assert_eq!(bodies, [(&json!("one"), &Value::Null), (&json!(""), &Value::Null), (&Value::Null, &json!("/w=="))]);

    let (printed, _) = enqueue(b"four", true).await;
    assert_eq!(printed[0]["ids"].as_array().unwrap().len(), 1);

    user.node.then([Step::Refuse(Code::ResourceExhausted, reasons::QUEUE_FULL)]);
    let (printed, result) = enqueue(b"five\nsix\n", false).await;
    let error = result.unwrap_err();
    assert_eq!(printed, Vec::<Value>::new());
    assert!(error.to_string().starts_with("lines 1 to 2: "), "{error}");
    assert!(error.to_string().ends_with("; enqueued before: 0"), "{error}");
    assert_eq!(report::end(&error, Output::Table).unwrap_err().exit, Exit::Refused);
}

#[tokio::test]
async fn a_dash_is_a_message_only_after_two() {
    let user = User::new().await;
    user.sees("enqueue jobs -- - -x").await;
    assert_eq!(user.sees("dequeue jobs --count 2").await, "-\n-x\n");
    let error = user.types("enqueue jobs - x").await.1.unwrap_err();
    assert_eq!(report::end(&error, Output::Table).unwrap_err().exit, Exit::Usage);
}

#[tokio::test]
async fn status_shows_who_leads_and_who_is_not_there() {
    let user = User::new().await;
    user.world.lock().unwrap().statuses = vec![leader_status(), unreachable_status()];
    let expected = "\
NAME  NODE ID           ROLE    TERM  COMMIT  APPLIED  LAST  LEADER  REACHABLE  ADDRESS         TROUBLE
a     0000000000000001  leader  3     7       6        8     a       yes        127.0.0.1:7400
b     0000000000000002  -       -     -       -        -     -       no         127.0.0.1:7410
";
    assert_eq!(user.sees("status").await, expected);
    let seen = user.sees_json("status --output json").await;
    assert_eq!(seen["nodes"][0]["role"], "leader");
    assert_eq!(seen["nodes"][0]["last_index"], 8);
    assert_eq!(seen["nodes"][1]["role"], Value::Null);
    assert_eq!(seen["asked"]["node_id"], "0000000000000001");
}

#[tokio::test]
async fn members_are_listed_added_promoted_and_removed() {
    let user = User::new().await;
    let add = "member add 00000000000000AA --name d --address h:7400 --peer-address h:7401";
    assert!(user.sees(add).await.contains("d     00000000000000aa  learner     h:7400"));
    assert!(user.sees("member promote d").await.contains("d     00000000000000aa  voter       h:7400"));
    let listed = user.sees_json("member list --output json").await;
    assert_eq!(listed["members"].as_array().unwrap().len(), 2);
    assert_eq!(listed["decided"]["index"], 9);
    assert!(!user.sees("member remove d").await.contains("00000000000000aa"));
    let error = user.types("member remove d").await.1.unwrap_err();
    let failure = report::end(&error, Output::Table).unwrap_err();
    assert_eq!(failure.exit, Exit::Refused);
    assert_eq!(failure.lines()[1], "hint: `quorate member list` shows names and node ids");

    for (id, name) in [("00000000000000bb", "e"), ("00000000000000cc", "f")] {
        user.sees(&format!("member add {id} --name {name} --address h:7400 --peer-address h:7401")).await;
    }
    let left = user.sees_json("member remove e 00000000000000cc --output json").await;
    assert_eq!(left["members"].as_array().unwrap().len(), 1, "{left}");
}

#[tokio::test]
async fn every_way_to_fail_has_its_exit_code() {
    let user = User::new().await;
    let cases = [
        (Step::Refuse(Code::InvalidArgument, reasons::INVALID_QUEUE_NAME), Exit::Usage),
        (Step::Refuse(Code::ResourceExhausted, reasons::QUEUE_FULL), Exit::Refused),
        (Step::Refuse(Code::ResourceExhausted, reasons::OVERLOADED), Exit::Unavailable),
        (Step::Refuse(Code::Unavailable, reasons::NO_LEADER), Exit::Unavailable),
        (Step::Refuse(Code::Internal, reasons::INTERNAL), Exit::Failed),
    ];
    for (step, exit) in cases {
        user.node.script.lock().unwrap().clear();
        user.node.then(vec![step; 100]);
        let error = user.types("peek jobs").await.1.unwrap_err();
        assert_eq!(report::end(&error, Output::Table).unwrap_err().exit, exit, "{error}");
        // With JSON the error has been printed, and the exit code is the same.
        assert_eq!(report::end(&error, Output::Json).unwrap(), exit, "{error}");
    }
    let unknown = Error::from(client::Error::OutcomeUnknown { why: "x".to_owned() });
    assert_eq!(report::end(&unknown, Output::Json).unwrap(), Exit::Failed);
    let endpoint = Client::new(vec!["no port:".to_owned()], Options::default()).err().expect("it is no address");
    assert_eq!(report::end(&endpoint.into(), Output::Json).unwrap(), Exit::Usage);
}

#[test]
fn what_cannot_be_right_is_refused_before_a_node_is_asked() {
    for line in [
        "enqueue jobs",
        "dequeue jobs --count 0",
        "dequeue jobs --wait soon",
        "peek jobs --limit 101",
        "member add xyz --name d --address h:1 --peer-address h:2",
        "member add 00000000000000aa --name d",
        "status --output xml",
        "status --watch 1ms",
        "log --kind commands",
        "log --last 0",
        "log --last 5 --limit 5",
    ] {
        let arguments: Vec<_> = line.split(' ').collect();
        let error = parse(&arguments).expect_err(line);
        assert_eq!(error.exit_code(), i32::from(Exit::Usage.code()), "{line}");
    }
}

fn log_with_every_kind() -> Vec<v1::LogEntry> {
    let configuration = v1::Configuration {
        voters: vec!["1".to_owned(), "2".to_owned()],
        voters_outgoing: vec!["3".to_owned()],
        learners: vec!["4".to_owned()],
    };
    let body = Body::Text("a\nb".to_owned());
    let message = Some(v1::Message { body: Some(body), headers: [("k".to_owned(), "v".to_owned())].into() });
    let enqueue = Verb::Enqueue(v1::Enqueue { queue: "jobs".to_owned(), message, delay: None });
    let dequeue = Verb::Dequeue(v1::Dequeue { queue: "jobs".to_owned(), wait: None });
    let command = v1::LoggedCommand {
        session: 7,
        sequence: 3,
        timestamp: Some(prost_types::Timestamp { seconds: 1, nanos: 500_000_000 }),
        operations: [enqueue, dequeue].map(|verb| v1::Operation { operation: Some(verb) }).into(),
        expiry: false,
    };
    let expiry = v1::LoggedCommand { expiry: true, ..Default::default() };
    let open = v1::Operation { operation: Some(Verb::OpenSession(v1::OpenSession {})) };
    let opening = v1::LoggedCommand { operations: vec![open], ..Default::default() };
    let entry = |index, term, content| v1::LogEntry { index, term, committed: index < 5, content: Some(content) };
    vec![
        entry(1, 1, Content::Configuration(configuration)),
        entry(2, 1, Content::Noop(v1::Noop {})),
        entry(3, 2, Content::Command(command)),
        entry(4, 2, Content::Command(expiry)),
        entry(5, 2, Content::Command(opening)),
    ]
}

fn leader_status() -> v1::NodeStatus {
    v1::NodeStatus {
        member: Some(member(1, "a", "127.0.0.1:7400")),
        reachable: true,
        role: v1::Role::Leader.into(),
        term: 3,
        commit: 7,
        applied: 6,
        last_index: 8,
        leader_id: "0000000000000001".to_owned(),
        ..Default::default()
    }
}

fn unreachable_status() -> v1::NodeStatus {
    v1::NodeStatus { member: Some(member(2, "b", "127.0.0.1:7410")), ..Default::default() }
}

fn member(number: u64, name: &str, address: &str) -> v1::Member {
    v1::Member {
        node_id: format!("{number:016x}"),
        name: name.to_owned(),
        client_address: address.to_owned(),
        ..Default::default()
    }
}

#[test]
fn times_end_at_a_day() {
    for time in ["24h", "1m 30s", "0s"] {
        assert!(parse(&["dequeue", "jobs", "--wait", time, "--timeout", time]).is_ok(), "{time}");
    }
    for option in ["--wait", "--timeout"] {
        let error = parse(&["dequeue", "jobs", option, "500000000000y"]).unwrap_err().to_string();
        assert!(error.contains("at most 1day"), "{error}");
    }
}
