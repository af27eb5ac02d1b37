//! The objects of one rendering, by kind.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use k8s_openapi::api::apps::v1::{StatefulSet, StatefulSetSpec};
use k8s_openapi::api::core::v1::{ConfigMap, Container, PodSpec, Service, ServiceAccount, ServiceSpec};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Deserialize as _;
use serde_json::Value;

pub type Labels = BTreeMap<String, String>;

/// What `kubectl apply -k` would send.
pub struct Rendered {
    /// The directory below `k8s/`.
    pub name: &'static str,
    /// With the component for a Service that leads to the leader.
    pub leader_service: bool,
    pub stateful_set: StatefulSet,
    pub config: ConfigMap,
    pub account: ServiceAccount,
    pub budget: PodDisruptionBudget,
    pub policy: NetworkPolicy,
    pub services: Vec<Service>,
    pub roles: Vec<Role>,
    pub bindings: Vec<RoleBinding>,
    /// Kind and metadata of all of them.
    pub metadata: Vec<(String, ObjectMeta)>,
}

/// The base, the overlays, and the base with the component. What kubectl has written is left in `manifests` of the directory for
/// tests, for other checks.
pub fn all() -> &'static [Rendered] {
    static ALL: LazyLock<Vec<Rendered>> = LazyLock::new(|| {
        let read = |name: &'static str, directory: &Path| {
            let yaml = kustomize(directory);
            write(&tests().join("manifests").join(format!("{}.yaml", name.replace('/', "-"))), &yaml);
            Rendered::read(name, &yaml)
        };
        let mut all: Vec<Rendered> = ["base", "overlays/dev", "overlays/kind", "overlays/cloud"]
            .map(|name| read(name, &Path::new("k8s").join(name)))
            .into();
        all.push(read("components/leader-service", &with_component("leader-service")));
        all
    });
    &ALL
}

/// A directory that adds the component to the base, as an overlay of a user would.
fn with_component(component: &str) -> PathBuf {
    let directory = tests().join(format!("with-{component}"));
    let below = directory.strip_prefix(env!("CARGO_MANIFEST_DIR")).expect("the directory for tests is in the package");
    let to_root = "../".repeat(below.components().count());
    let overlay = format!("resources: [{to_root}k8s/base]\ncomponents: [{to_root}k8s/components/{component}]\n");
    write(&directory.join("kustomization.yaml"), &overlay);
    directory
}

fn tests() -> &'static Path {
    Path::new(env!("CARGO_TARGET_TMPDIR"))
}

fn write(file: &Path, text: &str) {
    let directory = file.parent().expect("a file is in a directory");
    std::fs::create_dir_all(directory).expect("the directory for tests can be written");
    std::fs::write(file, text).expect("the directory for tests can be written");
}

fn kustomize(directory: &Path) -> String {
    let output = Command::new("kubectl")
        .arg("kustomize")
        .arg(directory)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("kubectl is on the PATH");
    assert!(output.status.success(), "{}: {}", directory.display(), String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("kubectl writes UTF-8")
}

impl Rendered {
    fn read(name: &'static str, yaml: &str) -> Self {
        let objects = objects(yaml);
        let metadata = objects.iter().map(|object| (kind(object), read(&object["metadata"]))).collect();
        let kinds: Vec<String> = objects.iter().map(kind).collect();
        let rendered = Self {
            name,
            leader_service: name == "components/leader-service",
            stateful_set: only(&objects, "StatefulSet"),
            config: only(&objects, "ConfigMap"),
            account: only(&objects, "ServiceAccount"),
            budget: only(&objects, "PodDisruptionBudget"),
            policy: only(&objects, "NetworkPolicy"),
            services: of(&objects, "Service"),
            roles: of(&objects, "Role"),
            bindings: of(&objects, "RoleBinding"),
            metadata,
        };
        let known = 5 + rendered.services.len() + rendered.roles.len() + rendered.bindings.len();
        assert_eq!(objects.len(), known, "{name}: an object of a kind that no test looks at: {kinds:?}");
        rendered
    }

    pub fn set(&self) -> &StatefulSetSpec {
        self.stateful_set.spec.as_ref().expect("a StatefulSet has a spec")
    }

    pub fn pod(&self) -> &PodSpec {
        self.set().template.spec.as_ref().expect("the pod has a spec")
    }

    pub fn pod_labels(&self) -> &Labels {
        let metadata = self.set().template.metadata.as_ref().expect("the pod has metadata");
        metadata.labels.as_ref().expect("the pod has labels")
    }

    /// The one container that there is.
    pub fn container(&self) -> &Container {
        let pod = self.pod();
        assert_eq!((pod.containers.len(), &pod.init_containers), (1, &None), "{}: one container", self.name);
        &pod.containers[0]
    }

    pub fn service(&self, name: &str) -> &ServiceSpec {
        let named = |service: &&Service| service.metadata.name.as_deref() == Some(name);
        let service = self.services.iter().find(named).unwrap_or_else(|| panic!("{}: no Service {name}", self.name));
        service.spec.as_ref().expect("a Service has a spec")
    }

    /// The number of the container's port of that name.
    pub fn port(&self, name: &str) -> i32 {
        let ports = self.container().ports.as_ref().expect("the container has ports");
        let port = ports.iter().find(|port| port.name.as_deref() == Some(name));
        port.unwrap_or_else(|| panic!("{}: the container has no port {name}", self.name)).container_port
    }
}

/// The base with a component, as objects of any kind.
pub fn objects_with(component: &str) -> Vec<Value> {
    objects(&kustomize(&with_component(component)))
}

fn objects(yaml: &str) -> Vec<Value> {
    let documents = serde_yaml::Deserializer::from_str(yaml);
    documents.map(|document| Value::deserialize(document).expect("kubectl writes YAML")).collect()
}

fn kind(object: &Value) -> String {
    object["kind"].as_str().expect("an object has a kind").to_owned()
}

fn read<T: serde::de::DeserializeOwned>(value: &Value) -> T {
    serde_json::from_value(value.clone()).unwrap_or_else(|error| panic!("{error}: {value}"))
}

fn of<T: serde::de::DeserializeOwned>(objects: &[Value], wanted: &str) -> Vec<T> {
    objects.iter().filter(|object| kind(object) == wanted).map(read).collect()
}

fn only<T: serde::de::DeserializeOwned>(objects: &[Value], kind: &str) -> T {
    let mut found = of(objects, kind);
    assert_eq!(found.len(), 1, "exactly one {kind} is there");
    found.remove(0)
}
