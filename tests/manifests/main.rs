//! What `k8s/` says, read as Kubernetes reads it: `kubectl kustomize` renders the base, each overlay and the base with each
//! component, and the objects are parsed into the types of the API. Whether every field is one that the API knows is checked
//! elsewhere, with its schemas.
//!
//! kubectl is not part of `cargo test`, so that all of it is ignored there: `cargo test --test manifests -- --ignored`.

mod monitor;
mod pods;
mod rendered;
mod rights;
mod services;
mod settings;
