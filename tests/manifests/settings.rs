//! The settings that a node gets, joined as the node joins them, and what in the manifests must agree with them.

use std::path::Path;
use std::time::Duration;

use quorate::config::{NodeConfig, Sources};

use crate::rendered::{Rendered, all};

/// What the node of the pod quorate-0 in the namespace `queues` finds.
fn settings(rendered: &Rendered) -> NodeConfig {
    let data = rendered.config.data.as_ref().expect("the ConfigMap has data");
    assert_eq!(data.keys().collect::<Vec<_>>(), ["node.yaml"], "{}", rendered.name);
    let directory = tempfile::tempdir().expect("a directory for the file");
    let file = directory.path().join("node.yaml");
    std::fs::write(&file, &data["node.yaml"]).expect("the file can be written");
    let sources = Sources { files: vec![file], environment: environment(rendered), flags: Vec::new() };
    NodeConfig::load(&sources).unwrap_or_else(|error| panic!("{}: {error}", rendered.name))
}

/// The variables of the container. `$(NAME)` refers to one that stands before it, as in Kubernetes.
fn environment(rendered: &Rendered) -> Vec<(String, String)> {
    let mut environment: Vec<(String, String)> = Vec::new();
    for variable in rendered.container().env.iter().flatten() {
        let field = variable.value_from.as_ref().and_then(|from| from.field_ref.as_ref());
        let mut value = match field.map(|field| field.field_path.as_str()) {
            Some("metadata.name") => "quorate-0".to_owned(),
            Some("metadata.namespace") => "queues".to_owned(),
            Some(other) => panic!("{}: {other}", rendered.name),
            None => variable.value.clone().expect("a variable has a value"),
        };
        for (earlier, of_earlier) in &environment {
            value = value.replace(&format!("$({earlier})"), of_earlier);
        }
        environment.push((variable.name.clone(), value));
    }
    environment
}

/// The loader refuses what it does not know, in the file as in variables that begin with `QUORATE__`; a variable that is
/// spelt otherwise would be overlooked.
#[test]
#[ignore = "needs kubectl"]
fn settings_are_good_and_say_who_the_node_is() {
    for rendered in all() {
        let config = settings(rendered);
        assert_eq!(config.node.name, "quorate-0", "{}", rendered.name);
        let advertised = config.client.advertise.map(|address| address.to_string());
        assert_eq!(advertised.as_deref(), Some("quorate-0.quorate-peers.queues.svc:7400"), "{}", rendered.name);
        assert_eq!(config.kubernetes.stateful_set, rendered.stateful_set.metadata.name, "{}", rendered.name);
        assert_eq!(config.kubernetes.leader_label, rendered.leader_service, "{}", rendered.name);
        for (variable, _) in environment(rendered) {
            let known = variable.starts_with("QUORATE__") || ["POD_NAME", "POD_NAMESPACE"].contains(&&*variable);
            assert!(known, "{}: {variable}", rendered.name);
        }
        assert_eq!(rendered.pod().enable_service_links, Some(false), "{}: no variables of Services", rendered.name);
    }
}

#[test]
#[ignore = "needs kubectl"]
fn ports_are_those_of_the_settings() {
    for rendered in all() {
        let config = settings(rendered);
        let defaults = NodeConfig::default();
        let ports = |config: &NodeConfig| {
            [&config.client.listen, &config.peer_listen(), &config.admin_listen(), &config.health_listen()]
                .map(|address| address.port)
        };
        let (listened, usual) = (ports(&config), ports(&defaults));
        assert_eq!(listened, usual, "{}", rendered.name);
        let ports = ["client", "peer", "admin", "health"].map(|name| rendered.port(name));
        assert_eq!(ports, listened.map(i32::from), "{}", rendered.name);
        for address in [&config.client.listen, &config.peer_listen(), &config.admin_listen(), &config.health_listen()] {
            assert_eq!(address.host, "0.0.0.0", "{}: other pods and the kubelet connect", rendered.name);
        }
    }
}

/// A pod starts without the Secret, and then nobody changes anything through the dashboard: there is a file to ask for, and it has
/// no token. A mount of a single file would never see a Secret that is made or changed later.
#[test]
#[ignore = "needs kubectl"]
fn changes_ask_for_the_token_of_a_secret_that_need_not_be_there() {
    for rendered in all() {
        let config = settings(rendered);
        assert!(config.admin.token.is_none(), "{}: everybody could read it in the ConfigMap", rendered.name);
        let file = config.admin.token_file.expect("there is a file to ask for");
        let mut mounts = rendered.container().volume_mounts.iter().flatten();
        let mount = mounts.find(|mount| file.parent() == Some(Path::new(&mount.mount_path)));
        let mount = mount.unwrap_or_else(|| panic!("{}: nothing is mounted at {}", rendered.name, file.display()));
        assert_eq!((mount.read_only, &mount.sub_path), (Some(true), &None), "{}", rendered.name);
        let volume = rendered.pod().volumes.iter().flatten().find(|volume| volume.name == mount.name);
        let secret = volume.and_then(|volume| volume.secret.as_ref()).expect("it is a Secret");
        assert_eq!((secret.secret_name.as_deref(), secret.optional), (Some("quorate-admin"), Some(true)));
        assert_eq!(secret.default_mode, Some(0o440), "{}: the node's group may read it", rendered.name);
        assert_eq!(file.file_name(), Some("token".as_ref()), "{}: the key that k8s/README.md names", rendered.name);
    }
}

/// Founders are found through the headless Service, which must offer the port of clients; and there must be enough of them.
#[test]
#[ignore = "needs kubectl"]
fn founders_find_each_other() {
    for rendered in all() {
        let config = settings(rendered);
        let discovery = config.cluster.discovery.expect("there is a name to ask");
        assert_eq!(rendered.set().service_name.as_ref(), Some(&discovery.host), "{}", rendered.name);
        assert_eq!(discovery.port, config.client.listen.port, "{}", rendered.name);
        let replicas = rendered.set().replicas.expect("the number of replicas is given");
        let (expected, size) = match rendered.name {
            "overlays/dev" => (1, 1),
            "overlays/cloud" => (5, 3),
            _ => (3, 3),
        };
        assert_eq!((replicas, config.bootstrap.size), (expected, Some(size)), "{}", rendered.name);
        assert_eq!(rendered.set().ordinals, None, "{}: founders are counted from 0", rendered.name);
    }
}

/// An update that cuts pods off from each other stops at the first one, until somebody looks.
#[test]
#[ignore = "needs kubectl"]
fn a_pod_that_hears_nobody_holds_up_an_update() {
    for rendered in all() {
        let wait = settings(rendered).health.leader_wait;
        assert!(wait >= Duration::from_secs(60 * 60), "{}: {wait:?}", rendered.name);
    }
}

/// What a node holds at most of requests, of its log and for two followers leaves half of the memory to the rest: a request is held
/// about twice while it is worked on.
#[test]
#[ignore = "needs kubectl"]
fn what_a_node_holds_fits_its_memory() {
    for rendered in all() {
        let config = settings(rendered);
        let followers = 2 * config.raft.in_flight_bytes_max;
        let held = 2 * config.limits.request_bytes_in_flight_max + config.storage.cache_bytes + followers;
        let memory = match rendered.name {
            "overlays/cloud" => 2048 << 20,
            _ => 512 << 20,
        };
        assert!(held <= memory / 2, "{}: {held} of {memory}", rendered.name);
    }
}

/// SIGKILL would cut short what a stopping node does.
#[test]
#[ignore = "needs kubectl"]
fn a_stop_is_over_before_the_grace_period() {
    for rendered in all() {
        let grace = rendered.pod().termination_grace_period_seconds.expect("it is given");
        assert!(grace <= 60, "{}: {grace}", rendered.name);
        let grace = Duration::from_secs(grace.unsigned_abs());
        let deadline = settings(rendered).drain_deadline;
        assert!(deadline + Duration::from_secs(10) <= grace, "{}: {deadline:?} of {grace:?}", rendered.name);
        assert_eq!(rendered.container().lifecycle, None, "{}: the image has no shell", rendered.name);
    }
}

#[test]
#[ignore = "needs kubectl"]
fn data_and_settings_are_mounted_where_the_node_looks() {
    for rendered in all() {
        let config = settings(rendered);
        let mounts = rendered.container().volume_mounts.as_deref().unwrap_or_default();
        let mounted = |name: &str| mounts.iter().find(|mount| mount.name == name).expect("it is mounted");
        assert_eq!(mounted("data").mount_path, config.node.data_dir.to_str().expect("UTF-8"), "{}", rendered.name);
        let file = format!("{}/node.yaml", mounted("config").mount_path);
        let args = rendered.container().args.clone().unwrap_or_default();
        assert_eq!(args, ["server", "--config", &file], "{}", rendered.name);
        let volumes = rendered.pod().volumes.as_deref().unwrap_or_default();
        let map = volumes.iter().find_map(|volume| volume.config_map.as_ref()).expect("the settings are a volume");
        assert_eq!(Some(&map.name), rendered.config.metadata.name.as_ref(), "{}", rendered.name);
    }
}
