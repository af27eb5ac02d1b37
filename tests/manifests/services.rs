//! Names, labels, and who finds the pods by them.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use serde_json::json;

use crate::rendered::{Labels, Rendered, all};

const NAME: &str = "app.kubernetes.io/name";
const INSTANCE: &str = "app.kubernetes.io/instance";

fn own_pods() -> Labels {
    [NAME, INSTANCE].map(|key| (key.to_owned(), "quorate".to_owned())).into()
}

#[test]
#[ignore = "needs kubectl"]
fn objects_carry_the_usual_labels_and_no_namespace() {
    for Rendered { name, metadata, .. } in all() {
        for (kind, metadata) in metadata {
            let labels = metadata.labels.clone().unwrap_or_default();
            let usual = [
                (NAME, "quorate"),
                (INSTANCE, "quorate"),
                ("app.kubernetes.io/version", env!("CARGO_PKG_VERSION")),
                ("app.kubernetes.io/component", "node"),
                ("app.kubernetes.io/part-of", "quorate"),
                ("app.kubernetes.io/managed-by", "kustomize"),
            ];
            let usual: Labels = usual.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
            assert_eq!(labels, usual, "{name}: {kind} {:?}", metadata.name);
            assert_eq!(metadata.namespace, None, "{name}: {kind} goes where kubectl is told to put it");
        }
    }
}

/// A version in a selector would leave the pods of the version before behind.
#[test]
#[ignore = "needs kubectl"]
fn selectors_are_name_and_instance_and_find_the_pods() {
    for rendered in all() {
        let name = rendered.name;
        let expected = Some(LabelSelector { match_labels: Some(own_pods()), match_expressions: None });
        assert_eq!(Some(&rendered.set().selector), expected.as_ref(), "{name}: the StatefulSet");
        let budget = rendered.budget.spec.as_ref().expect("a budget has a spec");
        assert_eq!(budget.selector, expected, "{name}: the PodDisruptionBudget");
        let policy = rendered.policy.spec.as_ref().expect("a policy has a spec");
        assert_eq!(policy.pod_selector, expected, "{name}: the NetworkPolicy");
        for constraint in rendered.pod().topology_spread_constraints.as_ref().expect("pods are spread") {
            assert_eq!(constraint.label_selector, expected, "{name}: {}", constraint.topology_key);
        }
        for service in ["quorate", "quorate-peers"] {
            assert_eq!(rendered.service(service).selector, Some(own_pods()), "{name}: the Service {service}");
        }
        let labels = rendered.pod_labels();
        assert!(own_pods().iter().all(|(key, value)| labels.get(key) == Some(value)), "{name}: {labels:?}");
        assert!(!labels.contains_key("quorate.dev/role"), "{name}: only the leader gives itself that label");
        for claim in rendered.set().volume_claim_templates.iter().flatten() {
            assert_eq!(claim.metadata.labels, None, "{name}: nobody may ever change the labels of a volume claim");
        }
    }
}

#[test]
#[ignore = "needs kubectl"]
fn the_headless_service_gives_pods_that_are_not_ready() {
    for rendered in all() {
        let peers = rendered.service("quorate-peers");
        assert_eq!(peers.cluster_ip.as_deref(), Some("None"), "{}", rendered.name);
        assert_eq!(peers.publish_not_ready_addresses, Some(true), "{}", rendered.name);
        assert_eq!(rendered.set().service_name.as_deref(), Some("quorate-peers"), "{}", rendered.name);
        let clients = rendered.service("quorate");
        assert_eq!(clients.publish_not_ready_addresses, None, "{}: clients get ready pods alone", rendered.name);
        assert_eq!(clients.type_, None, "{}: nothing is open to the outside", rendered.name);
    }
}

#[test]
#[ignore = "needs kubectl"]
fn services_lead_to_the_ports_of_the_pods() {
    for rendered in all() {
        let mut services = vec![("quorate", vec!["client"]), ("quorate-peers", vec!["client", "peer", "admin"])];
        if rendered.leader_service {
            services.push(("quorate-leader", vec!["client"]));
        }
        assert_eq!(rendered.services.len(), services.len(), "{}", rendered.name);
        for (service, expected) in services {
            let ports = rendered.service(service).ports.as_deref().unwrap_or_default();
            let found: Vec<_> = ports.iter().map(|port| (port.port, json!(port.target_port))).collect();
            let expected: Vec<_> = expected.iter().map(|port| (rendered.port(port), json!(port))).collect();
            assert_eq!(found, expected, "{}: {service}", rendered.name);
        }
    }
}

#[test]
#[ignore = "needs kubectl"]
fn the_leader_service_follows_the_label() {
    let rendered = all().iter().find(|rendered| rendered.leader_service).expect("one has it");
    let mut expected = own_pods();
    expected.insert("quorate.dev/role".to_owned(), "leader".to_owned());
    assert_eq!(rendered.service("quorate-leader").selector, Some(expected));
}

#[test]
#[ignore = "needs kubectl"]
fn only_nodes_reach_the_port_of_nodes_and_only_who_is_allowed_the_admin_port() {
    for rendered in all() {
        let policy = serde_json::to_value(&rendered.policy.spec).expect("a policy is JSON");
        let expected = json!([
            {"from": [{"podSelector": {}}], "ports": [{"port": "client", "protocol": "TCP"}]},
            {"from": [{"podSelector": {"matchLabels": own_pods()}}], "ports": [{"port": "peer", "protocol": "TCP"}]},
            {"from": [
                {"podSelector": {"matchLabels": {"quorate.dev/admin": "true"}}},
                {
                    "namespaceSelector": {"matchLabels": {"quorate.dev/scrapes": "true"}},
                    "podSelector": {"matchLabels": {"app.kubernetes.io/name": "prometheus"}},
                },
            ], "ports": [{"port": "admin", "protocol": "TCP"}]},
        ]);
        assert_eq!(policy["ingress"], expected, "{}", rendered.name);
        assert_eq!(policy["policyTypes"], json!(["Ingress"]), "{}", rendered.name);
    }
}

#[test]
#[ignore = "needs kubectl"]
fn one_pod_at_a_time_is_disrupted() {
    for rendered in all() {
        let budget = serde_json::to_value(&rendered.budget.spec).expect("a budget is JSON");
        assert_eq!(
            (&budget["maxUnavailable"], &budget["minAvailable"]),
            (&json!(1), &json!(null)),
            "{}",
            rendered.name
        );
    }
}
