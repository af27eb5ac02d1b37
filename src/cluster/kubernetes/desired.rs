//! What a StatefulSet asks for, and what follows from that. Pure.

use std::fmt;
use std::ops::Range;

use k8s_openapi::api::apps::v1::StatefulSet;

use super::api::Trouble;
use crate::cluster::names::Ordinal;

/// The name of a StatefulSet, which is also how the names of its pods begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct StatefulSetName(pub(super) String);

impl fmt::Display for StatefulSetName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl StatefulSetName {
    /// The ordinal of the pod with this name; none: it is not of this StatefulSet.
    pub(super) fn ordinal_of(&self, pod: &str) -> Option<u32> {
        Ordinal::of(pod).filter(|ordinal| ordinal.base == self.0).map(|ordinal| ordinal.number)
    }
}

/// What a StatefulSet asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Desired {
    /// Pods with these ordinals, at least one.
    Pods(Range<u64>),
    /// No pods for the time being.
    Nothing,
    /// It is being deleted, or is not there.
    Deleted,
}

impl Desired {
    /// What this StatefulSet asks for.
    ///
    /// # Errors
    /// It does not say so, or is not the one with this name.
    pub(super) fn of(set: &StatefulSet, name: &StatefulSetName) -> Result<Self, Trouble> {
        let malformed = |why: &str| Err(Trouble::Malformed(why.to_owned()));
        if set.metadata.name.as_ref() != Some(&name.0) {
            return malformed("it is about another object");
        }
        if set.metadata.deletion_timestamp.is_some() {
            return Ok(Self::Deleted);
        }
        let spec = set.spec.as_ref();
        // The API server always writes down the number. To take a default for it could remove members.
        let Some(replicas) = spec.and_then(|spec| spec.replicas) else { return malformed("it has no spec.replicas") };
        let first = spec.and_then(|spec| spec.ordinals.as_ref()).and_then(|ordinals| ordinals.start).unwrap_or(0);
        let (Ok(first), Ok(replicas)) = (u64::try_from(first), u64::try_from(replicas)) else {
            return malformed("spec.replicas or spec.ordinals.start is negative");
        };
        Ok(if replicas == 0 { Self::Nothing } else { Self::Pods(first..first + replicas) })
    }

    /// True when a pod with this ordinal is to go. One before the first is not: `spec.ordinals.start` is not supported, because
    /// founders are counted from 0, and where it is set all the same nobody is removed because of it.
    pub(super) fn leaves_out(&self, ordinal: u32) -> bool {
        matches!(self, Self::Pods(ordinals) if u64::from(ordinal) >= ordinals.end)
    }
}

impl fmt::Display for Desired {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pods(ordinals) if ordinals.end - ordinals.start == 1 => f.write_str("asks for 1 replica")?,
            Self::Pods(ordinals) => write!(f, "asks for {} replicas", ordinals.end - ordinals.start)?,
            Self::Nothing => f.write_str("asks for no replicas")?,
            Self::Deleted => f.write_str("is deleted")?,
        }
        match self {
            Self::Pods(ordinals) if ordinals.start > 0 => write!(f, ", the first of them number {}", ordinals.start),
            _ => Ok(()),
        }
    }
}

/// What a pod does that is told to stop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum OnStop {
    /// It leaves the cluster for good, for this reason.
    Leave(String),
    /// It stays a member, for this reason.
    Stay(String),
    /// It stays a member, because nobody could be asked; somebody may have to remove it.
    Unknown(String),
}

/// What the pod with this ordinal does that is told to stop, when it is answered so.
pub(super) fn on_stop(set: &StatefulSetName, ordinal: u32, answer: &Result<Desired, Trouble>) -> OnStop {
    match answer {
        Ok(desired) if desired.leaves_out(ordinal) => OnStop::Leave(format!("StatefulSet {set} {desired}")),
        Ok(desired) => OnStop::Stay(format!("StatefulSet {set} {desired}")),
        Err(trouble) => {
            OnStop::Unknown(format!("how many replicas StatefulSet {set} asks for is not known: {trouble}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn quorate() -> StatefulSetName {
        StatefulSetName("quorate".to_owned())
    }

    #[test]
    fn pods_have_the_name_of_their_set_and_a_number() {
        let cases = [
            ("quorate-0", Some(0)),
            ("quorate-12", Some(12)),
            ("quorate-4294967295", Some(u32::MAX)),
            ("quorate-4294967296", None),
            ("quorate", None),
            ("quorate-", None),
            ("quorate-03", None),
            ("quorate-+3", None),
            ("quorate--3", None),
            ("quorate-3-4", None),
            ("quorate-x", None),
            ("other-3", None),
            ("my-quorate-3", None),
            ("", None),
        ];
        for (pod, ordinal) in cases {
            assert_eq!(quorate().ordinal_of(pod), ordinal, "{pod:?}");
        }
        assert_eq!(StatefulSetName("a-1".to_owned()).ordinal_of("a-1-2"), Some(2));
    }

    fn desired(metadata: serde_json::Value, spec: serde_json::Value) -> Option<Desired> {
        let mut set = json!({
            "metadata": {"name": "quorate"},
            "spec": {"selector": {}, "serviceName": "quorate", "template": {}},
        });
        set["metadata"].as_object_mut().unwrap().extend(metadata.as_object().unwrap().clone());
        set["spec"].as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        Desired::of(&serde_json::from_value(set).unwrap(), &quorate()).ok()
    }

    #[test]
    fn what_a_set_asks_for() {
        let cases = [
            (json!({}), json!({"replicas": 3}), Some(Desired::Pods(0..3))),
            (json!({}), json!({"replicas": 2, "ordinals": {"start": 5}}), Some(Desired::Pods(5..7))),
            (json!({}), json!({"replicas": 2, "ordinals": {}}), Some(Desired::Pods(0..2))),
            (json!({}), json!({"replicas": 0}), Some(Desired::Nothing)),
            (json!({"deletionTimestamp": "2026-01-01T00:00:00Z"}), json!({"replicas": 3}), Some(Desired::Deleted)),
            (json!({}), json!({}), None),
            (json!({}), json!({"replicas": -1}), None),
            (json!({}), json!({"replicas": 1, "ordinals": {"start": -1}}), None),
            (json!({"name": "another"}), json!({"replicas": 1}), None),
        ];
        for (metadata, spec, expected) in cases {
            assert_eq!(desired(metadata.clone(), spec.clone()), expected, "{metadata} {spec}");
        }
        assert!(Desired::of(&StatefulSet::default(), &quorate()).is_err());
    }

    #[test]
    fn who_is_left_out() {
        let cases = [
            (Desired::Pods(0..3), vec![3, 4, u32::MAX]),
            (Desired::Pods(0..1), vec![1, 2, 3, 4, u32::MAX]),
            (Desired::Pods(0..9), vec![u32::MAX]),
            (Desired::Pods(2..4), vec![4, u32::MAX]),
            (Desired::Nothing, vec![]),
            (Desired::Deleted, vec![]),
        ];
        for (desired, expected) in cases {
            let left_out: Vec<u32> =
                [0, 1, 2, 3, 4, u32::MAX].into_iter().filter(|ordinal| desired.leaves_out(*ordinal)).collect();
            assert_eq!(left_out, expected, "{desired:?}");
        }
    }

    #[test]
    fn only_a_pod_that_is_known_to_be_left_out_leaves() {
        let of = |replicas: u64| Ok(Desired::Pods(0..replicas));
        let leave = |why: &str| OnStop::Leave(why.to_owned());
        let stay = |why: &str| OnStop::Stay(why.to_owned());
        let cases = [
            (3, of(3), leave("StatefulSet quorate asks for 3 replicas")),
            (4, of(1), leave("StatefulSet quorate asks for 1 replica")),
            (2, of(3), stay("StatefulSet quorate asks for 3 replicas")),
            (0, of(1), stay("StatefulSet quorate asks for 1 replica")),
            (0, Ok(Desired::Nothing), stay("StatefulSet quorate asks for no replicas")),
            (4, Ok(Desired::Nothing), stay("StatefulSet quorate asks for no replicas")),
            (4, Ok(Desired::Deleted), stay("StatefulSet quorate is deleted")),
            (1, Ok(Desired::Pods(2..4)), stay("StatefulSet quorate asks for 2 replicas, the first of them number 2")),
        ];
        for (ordinal, answer, expected) in cases {
            assert_eq!(on_stop(&quorate(), ordinal, &answer), expected, "{ordinal} {answer:?}");
        }
        for trouble in [Trouble::Forbidden("no".to_owned()), Trouble::Malformed("{".to_owned())] {
            assert!(matches!(on_stop(&quorate(), 9, &Err(trouble)), OnStop::Unknown(_)));
        }
    }
}
