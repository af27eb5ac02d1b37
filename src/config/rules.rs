//! What no type says: ranges, and values that must fit together.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use super::values::bytes;
use super::{Address, NodeConfig, Origin, Problem};
use crate::ids::{NODE_NAME_BYTES_MAX, is_node_name};
use crate::{storage, transport};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// More nodes than this never start a cluster together.
const FOUNDERS_MAX: u16 = 9;

/// A metric with a point for each state of each queue stays below the 2,000 points that OpenTelemetry keeps.
const QUEUES_TOLD_MAX: usize = 400;

/// More names than a node has.
const HOSTS_MAX: usize = 100;

/// What `RequestLog` promises to find.
const LOG_ENTRIES_MIN: u64 = 10_000;

/// Every rule that `config` breaks, except those about a setting that is `faulty` already.
pub(super) fn broken(
    config: &NodeConfig,
    origins: &BTreeMap<String, Origin>,
    faulty: &BTreeSet<String>,
) -> Vec<Problem> {
    let mut rules = Rules { origins, faulty, problems: Vec::new() };
    rules.node(config);
    rules.ports(config);
    rules.admin(config);
    rules.bootstrap(config);
    rules.kubernetes(config);
    rules.raft(config);
    rules.sizes(config);
    rules.storage(config);
    rules.log(config);
    rules.telemetry(config);
    rules.problems
}

struct Rules<'a> {
    origins: &'a BTreeMap<String, Origin>,
    faulty: &'a BTreeSet<String>,
    problems: Vec<Problem>,
}

impl Rules<'_> {
    /// Notes a problem unless `holds`. It is placed at the first of `keys` that somebody has set.
    fn demand(&mut self, holds: bool, keys: &[&str], why: impl FnOnce() -> String) {
        if holds || keys.iter().any(|key| self.faulty.contains(*key)) {
            return;
        }
        let set = keys.iter().find_map(|key| Some((*key, self.origins.get(*key)?)));
        let (key, origin) = set.unwrap_or((keys[0], &Origin::Default));
        self.problems.push(Problem::Rule { place: origin.place(key), why: why() });
    }

    fn node(&mut self, config: &NodeConfig) {
        let name = &config.node.name;
        self.demand(is_node_name(name), &["node.name"], || {
            format!("expected 1 to {NODE_NAME_BYTES_MAX} letters, digits, '.', '-' and '_', found {name:?}")
        });
        let somewhere = !config.node.data_dir.as_os_str().is_empty();
        self.demand(somewhere, &["node.data_dir"], || "expected a directory, found \"\"".to_owned());
    }

    fn ports(&mut self, config: &NodeConfig) {
        let client = &config.client.listen;
        let given = [
            (&config.peer.listen, "peer.listen", 1),
            (&config.admin.listen, "admin.listen", 2),
            (&config.health.listen, "health.listen", 3),
        ];
        let beyond = given.iter().filter(|(given, _, later)| given.is_none() && client.port > u16::MAX - later);
        let beyond: Vec<&str> = beyond.map(|(_, key, _)| *key).collect();
        self.demand(beyond.is_empty(), &["client.listen"], || {
            format!("too few ports follow {}, so that {} must be given as well", client.port, beyond.join(" and "))
        });
        let all = [
            ("health.listen", config.health_listen()),
            ("admin.listen", config.admin_listen()),
            ("peer.listen", config.peer_listen()),
            ("client.listen", client.clone()),
        ];
        for (number, (left_key, left)) in all.iter().enumerate() {
            for (right_key, right) in &all[number + 1..] {
                let apart = left != right || left.port == 0 || left.port == u16::MAX;
                self.demand(apart, &[left_key, right_key], || {
                    format!("{left_key} and {right_key} need different ports, and both are {left}")
                });
            }
        }
        let advertised = [("client.advertise", &config.client.advertise), ("peer.advertise", &config.peer.advertise)];
        for (key, address) in advertised {
            let has_port = address.as_ref().is_none_or(|address| address.port != 0);
            self.demand(has_port, &[key], || "nobody can connect to port 0".to_owned());
        }
        let joinable = config.cluster.join.iter().all(|address| address.port != 0);
        self.demand(joinable, &["cluster.join"], || "nobody can connect to port 0".to_owned());
        let found = config.cluster.discovery.as_ref().is_none_or(|address| address.port != 0);
        self.demand(found, &["cluster.discovery"], || "nobody can connect to port 0".to_owned());
    }

    fn admin(&mut self, config: &NodeConfig) {
        let admin = &config.admin;
        let one_of_them = admin.token.is_none() || admin.token_file.is_none();
        self.demand(one_of_them, &["admin.token", "admin.token_file"], || {
            "admin.token and admin.token_file say the same thing, so that only one of them can be given".to_owned()
        });
        let hosts = &admin.hosts;
        self.demand(hosts.len() <= HOSTS_MAX, &["admin.hosts"], || {
            format!("expected {HOSTS_MAX} names at most, found {}", hosts.len())
        });
        let wrong = hosts.iter().find(|host| !is_host_name(host));
        self.demand(wrong.is_none(), &["admin.hosts"], || {
            format!("expected names of hosts without a port, found {:?}", wrong.map_or("", String::as_str))
        });
        let url = admin.trace_url.as_deref();
        self.demand(url.is_none_or(is_trace_url), &["admin.trace_url"], || {
            let found = url.unwrap_or_default();
            format!("expected http:// or https:// and an address with {{trace_id}} in it, found {found:?}")
        });
    }

    fn bootstrap(&mut self, config: &NodeConfig) {
        const SIZE: &str = "bootstrap.size";
        let Some(size) = config.bootstrap.size else { return };
        self.demand((1..=FOUNDERS_MAX).contains(&size), &[SIZE], || {
            format!("expected 1 to {FOUNDERS_MAX}, found {size}")
        });
        let asks = !config.cluster.join.is_empty() || config.cluster.discovery.is_some();
        self.demand(asks || size <= 1, &[SIZE], || {
            format!("{size} nodes can start a cluster together only when they know where to ask for each other: set cluster.discovery or cluster.join")
        });
    }

    fn kubernetes(&mut self, config: &NodeConfig) {
        let kubernetes = &config.kubernetes;
        for (key, name) in
            [("kubernetes.stateful_set", &kubernetes.stateful_set), ("kubernetes.namespace", &kubernetes.namespace)]
        {
            let named = name.as_deref().is_none_or(is_node_name);
            self.demand(named, &[key], || {
                format!("expected the name of an object, found {:?}", name.as_deref().unwrap_or_default())
            });
        }
        let (min, max) = (Duration::from_secs(1), Duration::from_secs(24 * 60 * 60));
        self.demand((min..=max).contains(&kubernetes.gone_after), &["kubernetes.gone_after"], || {
            let [min, max, found] = [min, max, kubernetes.gone_after].map(humantime::format_duration);
            format!("expected {min} to {max}, found {found}")
        });
    }

    fn raft(&mut self, config: &NodeConfig) {
        const MIN: &str = "raft.election_timeout_min";
        const MAX: &str = "raft.election_timeout_max";
        const HEARTBEAT: &str = "raft.heartbeat_interval";
        const FLOOR: &str = "raft.election_timeout_floor";
        const CEILING: &str = "raft.election_timeout_ceiling";
        let raft = &config.raft;
        let written = humantime::format_duration;
        let (floor, ceiling) = (raft.election_timeout_floor, raft.election_timeout_ceiling);
        let (floor_min, ceiling_max) = (Duration::from_millis(10), Duration::from_secs(300));
        self.demand(floor >= floor_min, &[FLOOR], || format!("must be at least {}", written(floor_min)));
        self.demand(ceiling <= ceiling_max, &[CEILING], || format!("must be at most {}", written(ceiling_max)));
        self.demand(floor * 4 <= ceiling, &[CEILING, FLOOR], || {
            let (floor, ceiling) = (written(floor), written(ceiling));
            format!(
                "{CEILING} ({ceiling}) must be at least four times {FLOOR} ({floor}), or there is no room to adapt in"
            )
        });

        let fixed =
            [(MIN, raft.election_timeout_min), (MAX, raft.election_timeout_max), (HEARTBEAT, raft.heartbeat_interval)];
        let (set, missing): (Vec<_>, Vec<_>) = fixed.into_iter().partition(|(_, value)| value.is_some());
        let names =
            |fixed: &[(&'static str, Option<Duration>)]| fixed.iter().map(|(name, _)| *name).collect::<Vec<_>>();
        self.demand(set.is_empty() || missing.is_empty(), &[names(&set), names(&missing)].concat(), || {
            let missing = names(&missing).join(" and ");
            format!("is set without {missing}: with all three the time-outs are fixed, with none they adapt")
        });
        let [Some(min), Some(max), Some(heartbeat)] = fixed.map(|(_, value)| value) else { return };
        self.demand(min < max, &[MIN, MAX], || {
            format!("{MIN} ({}) must be less than {MAX} ({}), or elections collide", written(min), written(max))
        });
        self.demand(heartbeat * 2 < min, &[HEARTBEAT, MIN], || {
            let (heartbeat, min) = (written(heartbeat), written(min));
            format!(
                "{HEARTBEAT} ({heartbeat}) must be less than half of {MIN} ({min}), or one lost heartbeat ends a term"
            )
        });
        let millisecond = Duration::from_millis(1);
        self.demand(heartbeat >= millisecond, &[HEARTBEAT], || "must be at least 1ms".to_owned());
        let minute = Duration::from_secs(60);
        self.demand(max <= minute, &[MAX], || format!("must be at most {}", written(minute)));
    }

    fn sizes(&mut self, config: &NodeConfig) {
        let (raft, limits) = (&config.raft, &config.limits);
        // Half a frame: the other half is room for what encoding adds to small entries.
        let append_bytes_max = transport::FRAME_BYTES_MAX as u64 / 2;
        self.size("raft.append_bytes_max", raft.append_bytes_max, KIB, append_bytes_max);
        self.size("raft.in_flight_bytes_max", raft.in_flight_bytes_max, KIB, GIB);
        self.size("limits.request_bytes_in_flight_max", limits.request_bytes_in_flight_max, 4 * MIB, 1024 * GIB);
        let fits = raft.append_bytes_max <= raft.in_flight_bytes_max;
        self.demand(fits, &["raft.in_flight_bytes_max", "raft.append_bytes_max"], || {
            "raft.in_flight_bytes_max must be at least raft.append_bytes_max, or not one append could be sent"
                .to_owned()
        });
        for (key, count) in [
            ("raft.in_flight_appends_max", raft.in_flight_appends_max),
            ("limits.requests_in_flight_max", limits.requests_in_flight_max),
            ("limits.connections_max", limits.connections_max),
        ] {
            self.demand((1..=1_000_000).contains(&count), &[key], || format!("expected 1 to 1000000, found {count}"));
        }
    }

    fn storage(&mut self, config: &NodeConfig) {
        let storage = &config.storage;
        self.size("storage.segment_bytes", storage.segment_bytes, 8 * MIB, storage::SEGMENT_BYTES_MAX);
        self.size("storage.cache_bytes", storage.cache_bytes, MIB, 1024 * GIB);
        self.size("storage.snapshot_bytes", storage.snapshot_bytes, MIB, 1024 * GIB);
        self.size("storage.compaction_bytes_per_second", storage.compaction_bytes_per_second, MIB, 1024 * GIB);
        self.size("storage.transfer_bytes_per_second", storage.transfer_bytes_per_second, MIB, 1024 * GIB);
        self.size("storage.transfer_held_bytes", storage.transfer_held_bytes, MIB, 1024 * GIB);
        for (key, count, min) in [
            ("storage.snapshot_entries", storage.snapshot_entries, 1_000),
            ("storage.log_entries", storage.log_entries, LOG_ENTRIES_MIN),
        ] {
            self.demand((min..=1_000_000_000).contains(&count), &[key], || {
                format!("expected {min} to 1000000000, found {count}")
            });
        }
        let (seconds, day) = (Duration::from_secs, Duration::from_secs(24 * 60 * 60));
        for (key, time, min) in [
            // Several pieces of a second can be before the one that is waited for.
            ("storage.transfer_stall", storage.transfer_stall, seconds(10)),
            ("storage.transfer_held_time", storage.transfer_held_time, seconds(1)),
        ] {
            self.demand((min..=day).contains(&time), &[key], || {
                let [min, time] = [min, time].map(humantime::format_duration);
                format!("expected {min} to 1day, found {time}")
            });
        }
    }

    fn size(&mut self, key: &str, size: u64, min: u64, max: u64) {
        self.demand((min..=max).contains(&size), &[key], || {
            format!("expected {} to {}, found {}", bytes::write(min), bytes::write(max), bytes::write(size))
        });
    }

    fn log(&mut self, config: &NodeConfig) {
        let level = &config.log.level;
        self.demand(is_level(level), &["log.level"], || {
            format!("expected a level such as info, or a list such as info,quorate::entries=off, found {level:?}")
        });
    }

    fn telemetry(&mut self, config: &NodeConfig) {
        let telemetry = &config.telemetry;
        let names = [
            ("telemetry.service_name", &telemetry.service_name),
            ("telemetry.service_instance", &telemetry.service_instance),
        ];
        for (key, name) in names {
            let says_something = name.as_deref() != Some("");
            self.demand(says_something, &[key], || "expected a text, found \"\"".to_owned());
        }
        let endpoints = [
            ("telemetry.traces.endpoint", &telemetry.traces.endpoint),
            ("telemetry.metrics.endpoint", &telemetry.metrics.endpoint),
            ("telemetry.logs.endpoint", &telemetry.logs.endpoint),
        ];
        for (key, endpoint) in endpoints {
            self.demand(is_collector(endpoint), &[key], || format!("expected http://HOST:PORT, found {endpoint:?}"));
        }
        let ratio = telemetry.traces.sample_ratio;
        self.demand((0.0..=1.0).contains(&ratio), &["telemetry.traces.sample_ratio"], || {
            format!("expected a ratio from 0 to 1, found {ratio}")
        });
        let often = telemetry.metrics.interval >= Duration::from_millis(100);
        self.demand(often, &["telemetry.metrics.interval"], || "must be at least 100ms".to_owned());
        let few = telemetry.metrics.queues_max <= QUEUES_TOLD_MAX;
        self.demand(few, &["telemetry.metrics.queues_max"], || format!("must be at most {QUEUES_TOLD_MAX}"));
    }
}

fn is_host_name(text: &str) -> bool {
    let named = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    (1..=253).contains(&text.len()) && text.bytes().all(named)
}

/// What a page can follow: a browser runs an address that begins with `javascript:`.
fn is_trace_url(text: &str) -> bool {
    let is_web = text.starts_with("http://") || text.starts_with("https://");
    is_web && text.contains("{trace_id}") && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// `http://HOST:PORT`. Encrypted connections to a collector are not there: one on the same machine can make them.
fn is_collector(text: &str) -> bool {
    let authority = text.strip_prefix("http://").map(|rest| rest.strip_suffix('/').unwrap_or(rest));
    let address = authority.and_then(|authority| authority.parse::<Address>().ok());
    address.is_some_and(|address| address.port != 0)
}

/// A level, or a list of levels and `target=level`. The filter alone would take a misspelt level for the name of a target.
fn is_level(text: &str) -> bool {
    text.split(',').all(|part| match part.split_once('=') {
        Some(_) => EnvFilter::builder().parse(part).is_ok(),
        None => part.parse::<LevelFilter>().is_ok() && !part.is_empty(),
    })
}
