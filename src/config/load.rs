//! Joins the sources. Each of them becomes a flat list of settings; each setting is tried alone on top of the defaults, so
//! that one wrong value does not hide the next; those that are good are merged in order.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use figment::Figment;
use figment::error::{Actual, Kind};
use figment::providers::Serialized;
use figment::value::{Dict, Value};

use super::line::line_of;
use super::problem::VARIABLE_PREFIX;
use super::{API_VERSION, Error, KIND, Loaded, NodeConfig, Origin, Problem, otel, rules};

/// A file of settings is no longer than this. What is, such as `/dev/zero`, is something else.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Where settings come from, besides the defaults. Later ones win, and within one list later entries.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// YAML files.
    pub files: Vec<PathBuf>,
    /// Names and values of variables. Only those that begin with `QUORATE__` are looked at, and the standard ones of
    /// OpenTelemetry.
    pub environment: Vec<(String, String)>,
    /// What was given on the command line.
    pub flags: Vec<Flag>,
}

/// A setting from the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flag {
    /// The name of the flag, without the dashes.
    pub flag: &'static str,
    /// The setting, such as `client.listen`.
    pub key: &'static str,
    /// Its value as it was typed.
    pub value: String,
}

impl Sources {
    /// What is read, by name, in the order in which later ones win.
    pub fn names(&self) -> Vec<String> {
        let mut names = vec!["defaults".to_owned()];
        names.extend(otel::variables(&self.environment).map(str::to_owned));
        names.extend(self.files.iter().map(|file| file.display().to_string()));
        let variables = self.environment.iter().map(|(name, _)| name.clone());
        names.extend(variables.filter(|name| name.starts_with(VARIABLE_PREFIX)));
        names.extend(self.flags.iter().map(|flag| format!("--{}", flag.flag)));
        names
    }

    /// These files and flags, and the environment of this process. What is not UTF-8 is not a setting.
    pub fn with_environment(files: Vec<PathBuf>, flags: Vec<Flag>) -> Self {
        let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        Self { files, environment: std::env::vars_os().filter_map(text).collect(), flags }
    }
}

pub(super) fn load(sources: &Sources) -> Result<Loaded, Error> {
    let mut loader = Loader::new();
    loader.opentelemetry(&sources.environment);
    for file in &sources.files {
        loader.file(file);
    }
    loader.environment(&sources.environment);
    for Flag { flag, key, value } in &sources.flags {
        loader.typed(Origin::Flag(flag), key, value);
    }
    loader.finish(&sources.environment)
}

pub(super) struct Loader {
    defaults: Figment,
    /// The sections and keys that there are; values are the defaults.
    known: Dict,
    merged: Figment,
    origins: BTreeMap<String, Origin>,
    /// Keys with a value of the wrong kind: rules about them would only confuse.
    faulty: BTreeSet<String>,
    pub(super) problems: Vec<Problem>,
}

impl Loader {
    fn new() -> Self {
        let defaults = Figment::from(Serialized::defaults(NodeConfig::default()));
        let known = defaults.extract().expect("the default settings are a map");
        Self {
            merged: defaults.clone(),
            defaults,
            known,
            origins: BTreeMap::new(),
            faulty: BTreeSet::new(),
            problems: Vec::new(),
        }
    }

    fn file(&mut self, path: &Path) {
        match read(path) {
            Ok((text, mut settings)) => {
                self.header(path, &mut settings, "apiVersion", API_VERSION);
                self.header(path, &mut settings, "kind", KIND);
                self.section(&File { path, text }, "", &settings, &self.known.clone());
            }
            Err(problem) => self.problems.push(problem),
        }
    }

    fn header(&mut self, path: &Path, settings: &mut Dict, key: &'static str, expected: &str) {
        let found = match settings.remove(key) {
            Some(value) if value.as_str() == Some(expected) => return,
            Some(value) => found(&value.to_actual()),
            None => "nothing".to_owned(),
        };
        self.problems.push(Problem::header(path.to_owned(), key, found));
    }

    /// Takes what stands in the section `prefix` of a file.
    fn section(&mut self, file: &File, prefix: &str, settings: &Dict, known: &Dict) {
        for (name, value) in settings {
            let key = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
            match (known.get(name), value) {
                (None, _) => self.unknown(&file.origin(&key), &key),
                (Some(_), Value::Empty(..)) => {}
                (Some(Value::Dict(_, inner)), Value::Dict(_, values)) => self.section(file, &key, values, inner),
                (Some(Value::Dict(_, inner)), _) => {
                    let expected = format!("a section with {}", inner.keys().cloned().collect::<Vec<_>>().join(", "));
                    let found = found(&value.to_actual());
                    self.problems.push(Problem::Value { place: file.origin(&key).place(&key), expected, found });
                }
                (Some(_), _) => self.setting(file.origin(&key), &key, std::slice::from_ref(value)),
            }
        }
    }

    fn environment(&mut self, variables: &[(String, String)]) {
        for (name, value) in variables {
            let Some(rest) = name.strip_prefix(VARIABLE_PREFIX) else { continue };
            let key = rest.to_lowercase().replace("__", ".");
            if keys(&self.known, "").contains(&key) {
                self.typed(Origin::Environment, &key, value);
            } else {
                self.unknown(&Origin::Environment, &key);
            }
        }
    }

    /// Takes a value that somebody typed: it is text, unless only a number or a truth value is good there.
    pub(super) fn typed(&mut self, origin: Origin, key: &str, text: &str) {
        let literal = text.parse::<Value>().unwrap_or_else(|never| match never {});
        // A literal of figment has no exponent.
        let number = text.parse::<f64>().ok().filter(|number| number.is_finite()).map(Value::from);
        let readings: Vec<Value> = [Value::from(text), literal].into_iter().chain(number).collect();
        self.setting(origin, key, &readings);
    }

    /// Takes the first of `readings` that is good for `key`.
    fn setting(&mut self, origin: Origin, key: &str, readings: &[Value]) {
        let mut refused = None;
        for reading in readings {
            match self.defaults.clone().merge((key, reading)).extract::<NodeConfig>() {
                Ok(_) => {
                    self.merged = std::mem::take(&mut self.merged).merge((key, reading));
                    self.origins.insert(key.to_owned(), origin);
                    return;
                }
                Err(error) => refused = refused.or(Some(error)),
            }
        }
        if let Some(error) = refused {
            self.faulty.insert(key.to_owned());
            let (expected, found) = explain(&error);
            self.problems.push(Problem::Value { place: origin.place(key), expected, found });
        }
    }

    fn unknown(&mut self, origin: &Origin, key: &str) {
        let nearest = nearest(key, &keys(&self.known, "")).map(|known| origin.spelling(&known));
        self.problems.push(Problem::UnknownKey { place: origin.place(key), nearest });
    }

    fn finish(mut self, environment: &[(String, String)]) -> Result<Loaded, Error> {
        let config: NodeConfig = self.merged.extract().expect("each setting was good on top of the defaults");
        self.problems.extend(rules::broken(&config, &self.origins, &self.faulty));
        self.problems.extend(otel::wrong_for_the_exporter(&config, environment));
        if !self.problems.is_empty() {
            return Err(Error { problems: self.problems });
        }
        Ok(Loaded { config, origins: self.origins })
    }
}

/// A file of settings that has been read.
struct File<'a> {
    path: &'a Path,
    text: String,
}

impl File<'_> {
    fn origin(&self, key: &str) -> Origin {
        // A key that the text does not spell out comes from a place it refers to: the file is named all the same.
        Origin::File { path: self.path.to_owned(), line: line_of(&self.text, key).unwrap_or(1) }
    }
}

/// Reads a file as text, and as sections and keys. `serde_yaml` reads it first, because it notices a key that stands there twice.
fn read(path: &Path) -> Result<(String, Dict), Problem> {
    let text = read_text(path).map_err(|cause| Problem::Unreadable { file: path.to_owned(), cause })?;
    let malformed = |why: String| Problem::Malformed { file: path.to_owned(), why };
    let document: serde_yaml::Value = serde_yaml::from_str(&text).map_err(|error| malformed(error.to_string()))?;
    match Value::serialize(document).map_err(|error| malformed(error.to_string()))? {
        Value::Dict(_, settings) => Ok((text, settings)),
        Value::Empty(..) => Ok((text, Dict::new())),
        other => Err(malformed(format!("found {}", found(&other.to_actual())))),
    }
}

fn read_text(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    std::fs::File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_string(&mut text)?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(io::Error::other(format!("it has more than the {FILE_BYTES_MAX} bytes of a file of settings")));
    }
    Ok(text)
}

/// The keys of all settings there are.
pub(super) fn settings() -> BTreeSet<String> {
    keys(&Loader::new().known, "").into_iter().collect()
}

/// All settings in a section and those within it, such as `raft.heartbeat_interval`.
fn keys(known: &Dict, prefix: &str) -> Vec<String> {
    let mut all = Vec::new();
    for (name, value) in known {
        match value {
            Value::Dict(_, inner) => all.extend(keys(inner, &format!("{prefix}{name}."))),
            _ => all.push(format!("{prefix}{name}")),
        }
    }
    all
}

/// The setting that most resembles `key`: misspelt, or in the wrong section.
fn nearest(key: &str, known: &[String]) -> Option<String> {
    const RESEMBLES: f64 = 0.6;
    let last = |key: &str| key.rsplit('.').next().unwrap_or_default().to_owned();
    let resemblance = |candidate: &String| {
        let whole = strsim::normalized_damerau_levenshtein(key, candidate);
        whole.max(strsim::normalized_damerau_levenshtein(&last(key), &last(candidate)) - 0.1)
    };
    let best = known.iter().max_by(|left, right| resemblance(left).total_cmp(&resemblance(right)))?;
    (resemblance(best) >= RESEMBLES).then(|| best.clone())
}

/// What was expected and what was found, in words.
fn explain(error: &figment::Error) -> (String, String) {
    match &error.kind {
        Kind::InvalidType(actual, expected) | Kind::InvalidValue(actual, expected) => {
            (in_words(expected), found(actual))
        }
        Kind::UnknownVariant(variant, variants) => (one_of(variants), format!("{variant:?}")),
        other => ("another value".to_owned(), other.to_string()),
    }
}

fn in_words(expected: &str) -> String {
    match expected {
        "usize" | "u64" | "u32" | "u16" => "a whole number",
        "f64" => "a number",
        "a boolean" => "true or false",
        "a string" | "path string" => "a text",
        other if other.starts_with("enum") || other.starts_with("variant") => "a word",
        other => other,
    }
    .to_owned()
}

fn one_of(words: &[&str]) -> String {
    match words.split_last() {
        Some((last, [])) => (*last).to_owned(),
        Some((last, others)) => format!("{} or {last}", others.join(", ")),
        None => "nothing".to_owned(),
    }
}

fn found(actual: &Actual) -> String {
    match actual {
        Actual::Str(text) => format!("{text:?}"),
        Actual::Bool(value) => value.to_string(),
        Actual::Unsigned(number) => number.to_string(),
        Actual::Signed(number) => number.to_string(),
        Actual::Float(number) => number.to_string(),
        Actual::Seq => "a list".to_owned(),
        Actual::Map => "a section".to_owned(),
        Actual::Unit | Actual::Option => "nothing".to_owned(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::LogFormat;

    const HEADER: &str = "apiVersion: quorate.dev/v1\nkind: NodeConfig\n";

    /// What is wrong with a file of this text, without the directory of the file.
    fn problems(text: &str) -> Vec<String> {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("node.yaml");
        std::fs::write(&file, text).unwrap();
        let said = lines(NodeConfig::load(&Sources { files: vec![file], ..Sources::default() }));
        let directory = format!("{}/", directory.path().display());
        said.iter().map(|line| line.replace(&directory, "")).collect()
    }

    fn lines(result: Result<NodeConfig, Error>) -> Vec<String> {
        let all = result.err().map(|error| error.to_string()).unwrap_or_default();
        all.lines().map(str::to_owned).collect()
    }

    fn environment(variables: &[(&str, &str)]) -> Sources {
        let owned = variables.iter().map(|(name, value)| (name.to_string(), value.to_string()));
        Sources { environment: owned.collect(), ..Sources::default() }
    }

    fn flags(flags: &[(&'static str, &'static str, &str)]) -> Sources {
        let owned = flags.iter().map(|(flag, key, value)| Flag { flag, key, value: value.to_string() });
        Sources { flags: owned.collect(), ..Sources::default() }
    }

    #[test]
    fn the_defaults_obey_the_rules() {
        NodeConfig::load(&Sources::default()).unwrap();
    }

    /// Each line of the table: what stands in a file, and the one line about it.
    #[test]
    fn one_line_for_each_mistake() {
        for (text, line) in [
            (
                "raft: {election_timeout_min: fast}",
                "raft.election_timeout_min: expected a duration such as 150ms, at most 24h, found \"fast\"",
            ),
            (
                "raft: {election_timeout_min: 400}",
                "raft.election_timeout_min: expected a duration such as 150ms, at most 24h, found 400",
            ),
            (
                "raft: {heartbeat_interval: 500000000000y}",
                "raft.heartbeat_interval: expected a duration such as 150ms, at most 24h, found \"500000000000y\"",
            ),
            ("drain_deadline: 25h", "drain_deadline: expected a duration such as 150ms, at most 24h, found \"25h\""),
            ("raft: {in_flight_appends_max: -1}", "raft.in_flight_appends_max: expected a whole number, found -1"),
            ("raft: {in_flight_appends_max: 0}", "raft.in_flight_appends_max: expected 1 to 1000000, found 0"),
            ("storage: {segment_bytes: 64}", "storage.segment_bytes: expected a size such as 64MiB, found 64"),
            ("storage: {segment_bytes: 1MiB}", "storage.segment_bytes: expected 8MiB to 1GiB, found 1MiB"),
            ("storage: {segment_bytes: 2GiB}", "storage.segment_bytes: expected 8MiB to 1GiB, found 2GiB"),
            ("storage: {log_entries: 9999}", "storage.log_entries: expected 10000 to 1000000000, found 9999"),
            ("storage: {snapshot_entries: 10}", "storage.snapshot_entries: expected 1000 to 1000000000, found 10"),
            ("storage: {snapshot_bytes: 1KiB}", "storage.snapshot_bytes: expected 1MiB to 1024GiB, found 1KiB"),
            ("storage: {transfer_stall: 1ms}", "storage.transfer_stall: expected 10s to 1day, found 1ms"),
            ("raft: {append_bytes_max: 8MiB}", "raft.append_bytes_max: expected 1KiB to 4MiB, found 8MiB"),
            (
                "storage: [64MiB]",
                concat!(
                    "storage: expected a section with cache_bytes, compaction_bytes_per_second, log_entries, segment_bytes, ",
                    "snapshot_bytes, snapshot_entries, transfer_bytes_per_second, transfer_held_bytes, ",
                    "transfer_held_time, transfer_stall, found a list"
                ),
            ),
            ("client: {listen: '7400'}", "client.listen: expected HOST:PORT such as 127.0.0.1:7400, found \"7400\""),
            (
                "client: {listen: {port: 7400}}",
                "client.listen: expected HOST:PORT such as 127.0.0.1:7400, found a section",
            ),
            (
                "client: {listen: 'a:65535'}",
                "client.listen: too few ports follow 65535, so that peer.listen and admin.listen and health.listen must be given as well",
            ),
            (
                "client: {listen: 'a:65534'}",
                "client.listen: too few ports follow 65534, so that admin.listen and health.listen must be given as well",
            ),
            (
                "health: {listen: '127.0.0.1:7401'}",
                "health.listen: health.listen and peer.listen need different ports, and both are 127.0.0.1:7401",
            ),
            (
                "admin: {listen: '127.0.0.1:7401'}",
                "admin.listen: admin.listen and peer.listen need different ports, and both are 127.0.0.1:7401",
            ),
            (
                "admin: {token: 1234567890123456}",
                "admin.token: expected 16 to 512 printable ASCII characters without blanks (not what `config show` puts in \
                 their place), found something else",
            ),
            (
                "admin: {token: 0123456789-abcdef, token_file: /run/token}",
                "admin.token: admin.token and admin.token_file say the same thing, so that only one of them can be given",
            ),
            ("admin: {hosts: 'a, b:7402'}", "admin.hosts: expected names of hosts without a port, found \"b:7402\""),
            (
                "admin: {trace_url: 'javascript:{trace_id}'}",
                "admin.trace_url: expected http:// or https:// and an address with {trace_id} in it, found \"javascript:{trace_id}\"",
            ),
            (
                "health: {leader_wait: 25h}",
                "health.leader_wait: expected a duration such as 150ms, at most 24h, found \"25h\"",
            ),
            ("bootstrap: {size: 0}", "bootstrap.size: expected 1 to 9, found 0"),
            (
                "bootstrap: {size: 3}",
                "bootstrap.size: 3 nodes can start a cluster together only when they know where to ask for each other: set \
                 cluster.discovery or cluster.join",
            ),
            (
                "kubernetes: {stateful_set: 'a b'}",
                "kubernetes.stateful_set: expected the name of an object, found \"a b\"",
            ),
            ("client: {advertise: 'a:0'}", "client.advertise: nobody can connect to port 0"),
            (
                "peer: {listen: '127.0.0.1:7400'}",
                "peer.listen: peer.listen and client.listen need different ports, and both are 127.0.0.1:7400",
            ),
            ("cluster: {join: [a]}", "cluster.join: expected HOST:PORT such as 127.0.0.1:7400, found \"a\""),
            (
                "cluster: {commit_quorum: all}",
                "cluster.commit_quorum: expected majority or half_plus_one, found \"all\"",
            ),
            (
                "telemetry: {traces: {endpoint: 'collector:4317'}}",
                "telemetry.traces.endpoint: expected http://HOST:PORT, found \"collector:4317\"",
            ),
            ("telemetry: {metrics: {interval: 10ms}}", "telemetry.metrics.interval: must be at least 100ms"),
            ("telemetry: {metrics: {queues_max: 401}}", "telemetry.metrics.queues_max: must be at most 400"),
            (
                "telemetry: {traces: {sample_ratio: half}}",
                "telemetry.traces.sample_ratio: expected a number, found \"half\"",
            ),
            ("telemetry: {service_name: ''}", "telemetry.service_name: expected a text, found \"\""),
            ("log: {heartbeats: sometimes}", "log.heartbeats: expected true or false, found \"sometimes\""),
            ("log: {format: xml}", "log.format: expected text or json, found \"xml\""),
            (
                "log: {level: inof}",
                "log.level: expected a level such as info, or a list such as info,quorate::entries=off, found \"inof\"",
            ),
            (
                "log: {level: 'info,a=b=c'}",
                "log.level: expected a level such as info, or a list such as info,quorate::entries=off, found \"info,a=b=c\"",
            ),
            ("node: {name: 'a b'}", "node.name: expected 1 to 253 letters, digits, '.', '-' and '_', found \"a b\""),
            ("node: {name: 7}", "node.name: expected a text, found 7"),
            ("node: {data_dir: ''}", "node.data_dir: expected a directory, found \"\""),
            (
                "raft: {hearbeat_interval: 1s}",
                "raft.hearbeat_interval: there is no such setting; did you mean raft.heartbeat_interval?",
            ),
            (
                "heartbeat_interval: 1s",
                "heartbeat_interval: there is no such setting; did you mean raft.heartbeat_interval?",
            ),
            ("bicycle: {shed: red}", "bicycle: there is no such setting"),
            (
                "raft: {election_timeout_max: 300ms, election_timeout_min: 400ms, heartbeat_interval: 100ms}",
                "raft.election_timeout_min: raft.election_timeout_min (400ms) must be less than raft.election_timeout_max (300ms), or elections collide",
            ),
            (
                "raft: {heartbeat_interval: 200ms, election_timeout_min: 400ms, election_timeout_max: 800ms}",
                "raft.heartbeat_interval: raft.heartbeat_interval (200ms) must be less than half of raft.election_timeout_min (400ms), or one lost heartbeat ends a term",
            ),
            (
                "raft: {heartbeat_interval: 0s, election_timeout_min: 400ms, election_timeout_max: 800ms}",
                "raft.heartbeat_interval: must be at least 1ms",
            ),
            (
                "raft: {election_timeout_min: 1s}",
                "raft.election_timeout_min: is set without raft.election_timeout_max and raft.heartbeat_interval: with all three the time-outs are fixed, with none they adapt",
            ),
            (
                "raft: {election_timeout_floor: 8s}",
                "raft.election_timeout_floor: raft.election_timeout_ceiling (30s) must be at least four times raft.election_timeout_floor (8s), or there is no room to adapt in",
            ),
            ("raft: {election_timeout_floor: 9ms}", "raft.election_timeout_floor: must be at least 10ms"),
            ("raft: {election_timeout_ceiling: 6m}", "raft.election_timeout_ceiling: must be at most 5m"),
            (
                "raft: {append_bytes_max: 4MiB, in_flight_bytes_max: 1MiB}",
                "raft.in_flight_bytes_max: raft.in_flight_bytes_max must be at least raft.append_bytes_max, or not one append could be sent",
            ),
        ] {
            assert_eq!(problems(&format!("{HEADER}{text}\n")), [format!("node.yaml:3: {line}")], "{text}");
        }
    }

    #[test]
    fn all_mistakes_at_once_and_none_that_only_follow() {
        let found = problems(&format!(
            "{HEADER}raft:\n  election_timeout_min: fast\n  election_timeout_max: 300ms\nlog:\n  leve: debug\n  color: red\n"
        ));
        assert_eq!(
            found,
            [
                "node.yaml:8: log.color: expected auto, always or never, found \"red\"",
                "node.yaml:7: log.leve: there is no such setting; did you mean log.level?",
                "node.yaml:4: raft.election_timeout_min: expected a duration such as 150ms, at most 24h, found \"fast\"",
            ]
        );
    }

    #[test]
    fn a_file_says_what_it_is() {
        let missing = [
            "node.yaml: expected `apiVersion: quorate.dev/v1`, found nothing",
            "node.yaml: expected `kind: NodeConfig`, found nothing",
        ];
        assert_eq!(problems(""), missing);
        let other = "node.yaml: expected `kind: NodeConfig`, found \"Deployment\"";
        assert_eq!(problems("apiVersion: quorate.dev/v1\nkind: Deployment"), [other]);
    }

    #[test]
    fn what_is_no_file_of_settings_is_refused() {
        for text in ["- a", "a: [", "a: b\na: c", "a: b\n---\nc: d", "1: 2"] {
            let found = problems(text);
            assert!(found[0].starts_with("node.yaml: not a YAML document of keys and values: "), "{text}: {found:?}");
        }
        let missing = Sources { files: vec!["/nowhere/node.yaml".into()], ..Sources::default() };
        assert_eq!(lines(NodeConfig::load(&missing)), ["/nowhere/node.yaml: No such file or directory (os error 2)"]);
    }

    #[test]
    fn variables_and_flags_are_named_in_errors() {
        let sources =
            environment(&[("QUORATE__RAFT__HEARTBEAT_INTERVALL", "1s"), ("QUORATE__LIMITS__CONNECTIONS_MAX", "many")]);
        let expected = [
            "QUORATE__RAFT__HEARTBEAT_INTERVALL: there is no such setting; did you mean QUORATE__RAFT__HEARTBEAT_INTERVAL?",
            "QUORATE__LIMITS__CONNECTIONS_MAX: expected a whole number, found \"many\"",
        ];
        assert_eq!(lines(NodeConfig::load(&sources)), expected);
        let found = lines(NodeConfig::load(&flags(&[("listen", "client.listen", "everywhere")])));
        assert_eq!(found, ["--listen: expected HOST:PORT such as 127.0.0.1:7400, found \"everywhere\""]);
    }

    #[test]
    fn what_was_read_is_named_in_order() {
        let mut sources = environment(&[("HOME", "/"), ("QUORATE__LOG__FORMAT", "json"), ("OTEL_SERVICE_NAME", "x")]);
        sources.environment.push(("OTEL_TRACES_EXPORTER".to_owned(), String::new()));
        sources.files = vec!["node.yaml".into()];
        sources.flags = flags(&[("data", "node.data_dir", "two")]).flags;
        let expected = ["defaults", "OTEL_SERVICE_NAME", "node.yaml", "QUORATE__LOG__FORMAT", "--data"];
        assert_eq!(sources.names(), expected);
    }

    #[test]
    fn later_sources_win() {
        let directory = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let file = directory.path().join(name);
            std::fs::write(&file, format!("{HEADER}{text}")).unwrap();
            file
        };
        let first =
            write("1.yaml", "node: {name: first, data_dir: one}\ndrain_deadline: 1s\nlog: {format: json}\nraft:\n");
        let second = write("2.yaml", "node: {name: second}\ncluster: {join: ['a:1', 'b:2']}\n");
        let mut sources = environment(&[
            ("QUORATE__NODE__NAME", "7"),
            ("QUORATE__CLUSTER__JOIN", "c:3, d:4"),
            ("QUORATE__LOG__HEARTBEATS", "true"),
            ("QUORATE_ENDPOINTS", "x"),
        ]);
        sources.files = vec![first, second];
        sources.flags = flags(&[("data", "node.data_dir", "two")]).flags;

        let config = NodeConfig::load(&sources).unwrap();
        assert_eq!(config.drain_deadline, Duration::from_secs(1));
        assert_eq!(config.log.format, LogFormat::Json);
        assert_eq!(config.node.name, "7");
        assert_eq!(config.node.data_dir, PathBuf::from("two"));
        assert!(config.log.heartbeats);
        let join: Vec<String> = config.cluster.join.iter().map(ToString::to_string).collect();
        assert_eq!(join, ["c:3", "d:4"]);
    }

    /// Nothing is read without end.
    #[test]
    fn a_file_that_never_ends_is_refused() {
        let refused = NodeConfig::load(&Sources { files: vec!["/dev/zero".into()], ..Sources::default() }).unwrap_err();
        assert!(refused.to_string().contains("more than the 1048576 bytes"), "{refused}");
    }
}
