//! The least rights.

use serde_json::json;

use crate::rendered::all;

#[test]
#[ignore = "needs kubectl"]
fn a_pod_reads_its_own_stateful_set_and_nothing_else() {
    for rendered in all() {
        let mut expected = vec![json!([{
            "apiGroups": ["apps"],
            "resources": ["statefulsets"],
            "resourceNames": [rendered.stateful_set.metadata.name],
            "verbs": ["get", "list", "watch"],
        }])];
        if rendered.leader_service {
            let pods: Vec<String> = (0..9).map(|ordinal| format!("quorate-{ordinal}")).collect();
            let label = json!([{"apiGroups": [""], "resources": ["pods"], "resourceNames": pods, "verbs": ["patch"]}]);
            expected.push(label);
        }
        let found: Vec<_> = rendered.roles.iter().map(|role| json!(role.rules)).collect();
        assert_eq!(found, expected, "{}", rendered.name);
    }
}

#[test]
#[ignore = "needs kubectl"]
fn every_role_is_bound_to_the_account_of_the_pods() {
    for rendered in all() {
        let account = &rendered.account.metadata.name;
        assert_eq!(&rendered.pod().service_account_name, account, "{}", rendered.name);
        let roles: Vec<_> = rendered.roles.iter().map(|role| role.metadata.name.clone()).collect();
        let bound: Vec<_> = rendered.bindings.iter().map(|binding| Some(binding.role_ref.name.clone())).collect();
        assert_eq!(bound, roles, "{}", rendered.name);
        for binding in &rendered.bindings {
            assert_eq!(binding.role_ref.kind, "Role", "{}", rendered.name);
            assert_eq!(
                json!(binding.subjects),
                json!([{"kind": "ServiceAccount", "name": account}]),
                "{}",
                rendered.name
            );
        }
    }
}

#[test]
#[ignore = "needs kubectl"]
fn nobody_gets_the_token_who_does_not_ask_for_it() {
    for rendered in all() {
        assert_eq!(rendered.account.automount_service_account_token, Some(false), "{}", rendered.name);
        assert_eq!(rendered.pod().automount_service_account_token, Some(true), "{}", rendered.name);
    }
}
