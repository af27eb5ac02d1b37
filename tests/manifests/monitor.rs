//! What scrapes the pods finds them.

use crate::rendered::{all, objects_with};

#[test]
#[ignore = "needs kubectl"]
fn the_pod_monitor_selects_the_pods_and_a_port_that_they_have() {
    let objects = objects_with("pod-monitor");
    let monitor = objects.iter().find(|object| object["kind"] == "PodMonitor").expect("the component adds one");
    let base = &all()[0];
    let selected = monitor["spec"]["selector"]["matchLabels"].as_object().expect("it selects by labels");
    for (label, value) in selected {
        assert_eq!(base.pod_labels().get(label).map(String::as_str), value.as_str(), "{label}");
    }
    let job = monitor["spec"]["jobLabel"].as_str().expect("all pods are one job");
    assert!(base.pod_labels()[job].contains("quorate"), "the alerts look for it in the name of the job");
    let endpoint = &monitor["spec"]["podMetricsEndpoints"][0];
    assert_eq!(base.port(endpoint["port"].as_str().expect("a port by its name")), 7402);
    assert_eq!(endpoint["path"], "/metrics");
}
