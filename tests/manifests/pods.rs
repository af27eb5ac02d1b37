//! How pods run: with how little they do, how they are watched, placed, stopped and replaced.

use k8s_openapi::api::core::v1::Probe;
use serde_json::json;

use crate::rendered::all;

/// The `restricted` pod security standard, and a root file system that nobody writes to.
#[test]
#[ignore = "needs kubectl"]
fn pods_are_restricted() {
    for rendered in all() {
        let expected = json!({
            "runAsNonRoot": true,
            "runAsUser": 65532,
            "runAsGroup": 65532,
            "fsGroup": 65532,
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        });
        let pod = rendered.pod();
        assert_eq!(json!(pod.security_context), expected, "{}", rendered.name);
        let expected = json!({
            "allowPrivilegeEscalation": false,
            "readOnlyRootFilesystem": true,
            "capabilities": {"drop": ["ALL"]},
        });
        assert_eq!(json!(rendered.container().security_context), expected, "{}", rendered.name);
        assert_eq!((pod.host_network, pod.host_pid, pod.host_ipc), (None, None, None), "{}", rendered.name);
        let host_ports = rendered.container().ports.iter().flatten().filter_map(|port| port.host_port).count();
        assert_eq!(host_ports, 0, "{}", rendered.name);
        for volume in pod.volumes.iter().flatten() {
            let is_given = volume.config_map.is_some() || volume.secret.is_some();
            assert!(is_given, "{}: {}", rendered.name, volume.name);
        }
    }
}

#[test]
#[ignore = "needs kubectl"]
fn probes_ask_the_health_port() {
    for rendered in all() {
        let container = rendered.container();
        let asked = |probe: &Option<Probe>| json!(probe.as_ref().and_then(|probe| probe.http_get.as_ref()));
        let expected = |path: &str| json!({"path": path, "port": "health"});
        assert_eq!(asked(&container.startup_probe), expected("/livez"), "{}", rendered.name);
        assert_eq!(asked(&container.liveness_probe), expected("/livez"), "{}", rendered.name);
        assert_eq!(asked(&container.readiness_probe), expected("/readyz"), "{}", rendered.name);
        assert!(patience(&container.startup_probe) >= 60, "{}: the start may take long", rendered.name);
        assert!(patience(&container.liveness_probe) >= 30, "{}: a busy machine is no reason", rendered.name);
        assert!(patience(&container.readiness_probe) <= 10, "{}: clients go elsewhere soon", rendered.name);
    }
}

/// The seconds after which a probe that is never answered has an effect.
fn patience(probe: &Option<Probe>) -> i32 {
    let probe = probe.as_ref().expect("the probe is there");
    probe.period_seconds.unwrap_or(10) * probe.failure_threshold.unwrap_or(3)
}

/// With `Parallel` an update goes on as soon as a pod is ready; `minReadySeconds` says when it counts as available, and no more.
#[test]
#[ignore = "needs kubectl"]
fn pods_start_together_and_are_replaced_one_by_one() {
    for rendered in all() {
        let set = rendered.set();
        assert_eq!(set.pod_management_policy.as_deref(), Some("Parallel"), "{}", rendered.name);
        assert_eq!(set.min_ready_seconds, Some(10), "{}", rendered.name);
        assert_eq!(json!(set.update_strategy), json!({"type": "RollingUpdate"}), "{}", rendered.name);
    }
}

#[test]
#[ignore = "needs kubectl"]
fn data_is_never_deleted() {
    for rendered in all() {
        let set = rendered.set();
        let policy = json!(set.persistent_volume_claim_retention_policy);
        assert_eq!(policy, json!({"whenDeleted": "Retain", "whenScaled": "Retain"}), "{}", rendered.name);
        let claims = set.volume_claim_templates.as_deref().unwrap_or_default();
        let found: Vec<_> = claims.iter().map(|claim| (claim.metadata.name.as_deref(), json!(claim.spec))).collect();
        let size = match rendered.name {
            "overlays/dev" => "1Gi",
            "overlays/kind" => "2Gi",
            "overlays/cloud" => "100Gi",
            _ => "10Gi",
        };
        let spec = json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": size}}});
        assert_eq!(found, [(Some("data"), spec)], "{}", rendered.name);
    }
}

/// Memory that is promised is memory that is there; processor time may be borrowed.
#[test]
#[ignore = "needs kubectl"]
fn resources_are_given() {
    for rendered in all() {
        let resources = rendered.container().resources.as_ref().expect("resources are given");
        let requests = resources.requests.clone().unwrap_or_default();
        let limits = resources.limits.clone().unwrap_or_default();
        assert!(requests.contains_key("cpu"), "{}", rendered.name);
        assert_eq!(limits.keys().collect::<Vec<_>>(), ["memory"], "{}", rendered.name);
        assert_eq!(requests.get("memory"), limits.get("memory"), "{}", rendered.name);
        let memory = limits["memory"].0.as_str();
        let expected = if rendered.name == "overlays/cloud" { "2Gi" } else { "512Mi" };
        assert_eq!(memory, expected, "{}", rendered.name);
    }
}

#[test]
#[ignore = "needs kubectl"]
fn pods_are_spread() {
    for rendered in all() {
        let name = rendered.name;
        let constraints = rendered.pod().topology_spread_constraints.as_deref().unwrap_or_default();
        let found: Vec<_> = constraints
            .iter()
            .map(|constraint| {
                (constraint.topology_key.as_str(), constraint.max_skew, constraint.when_unsatisfiable.as_str())
            })
            .collect();
        let (zone, host) = ("topology.kubernetes.io/zone", "kubernetes.io/hostname");
        let affinity = json!(rendered.pod().affinity);
        let min_domains: Vec<_> = constraints.iter().map(|constraint| constraint.min_domains).collect();
        if name == "overlays/cloud" {
            assert_eq!(found, [(zone, 1, "DoNotSchedule")], "{name}");
            assert_eq!(min_domains, [Some(3)], "{name}: with two zones one of them would have three of five");
            let term = json!({"topologyKey": host, "labelSelector": rendered.set().selector});
            let apart = json!({"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}});
            assert_eq!(affinity, apart, "{name}: each on a machine of its own");
        } else {
            assert_eq!(found, [(zone, 1, "ScheduleAnyway"), (host, 1, "ScheduleAnyway")], "{name}");
            assert_eq!((min_domains, affinity), (vec![None, None], json!(null)), "{name}: it must fit on one machine");
        }
    }
}

#[test]
#[ignore = "needs kubectl"]
fn images_have_the_version_of_the_package() {
    for rendered in all() {
        let (repository, pull) = match rendered.name {
            "overlays/cloud" => ("registry.example.com/quorate", None),
            "overlays/kind" | "overlays/dev" => ("quorate", Some("Never")),
            _ => ("quorate", None),
        };
        let container = rendered.container();
        let expected = format!("{repository}:{}", env!("CARGO_PKG_VERSION"));
        assert_eq!(container.image, Some(expected), "{}", rendered.name);
        assert_eq!(container.image_pull_policy.as_deref(), pull, "{}", rendered.name);
    }
}
