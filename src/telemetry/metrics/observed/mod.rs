//! What is looked at whenever somebody collects: a list of metrics, each with what it takes out of the figures of the node.

mod cluster;
mod process;
mod queues;
mod raft;
mod storage;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use opentelemetry::KeyValue;
use opentelemetry::metrics::Meter;

use super::figures::Figures;
use super::metric::{Kind, Metric};
use super::process::Process;

/// Figures are this old at most: all instruments that are collected together tell of one moment, and whoever collects without a
/// pause does not keep the node busy.
const FIGURES_AGE_MAX: Duration = Duration::from_millis(500);

/// What tells the figures of a node; none while it cannot. Asked on a thread that may wait.
pub type Source = dyn Fn() -> Option<Figures> + Send + Sync;

/// Takes a point: its value and its attributes.
type Tell<'a, T> = &'a mut dyn FnMut(T, &[KeyValue]);

/// A metric, and where its figures are.
pub(super) struct Observed {
    pub(super) metric: Metric,
    look: Look,
}

/// Takes what a metric tells out of the figures, and gives it away point by point.
enum Look {
    /// How much there is.
    Gauge(fn(&Seen, Tell<i64>)),
    /// The same in seconds.
    Seconds(fn(&Seen, Tell<f64>)),
    /// How much there was in total.
    Total(fn(&Seen, Tell<u64>)),
    /// The same in seconds.
    TotalSeconds(fn(&Seen, Tell<f64>)),
}

/// What was seen when somebody collected.
#[derive(Debug, Default)]
struct Seen {
    /// None: there is no node, or it does not answer.
    node: Option<Figures>,
    process: Option<Process>,
}

impl Observed {
    const fn new(
        name: &'static str,
        unit: &'static str,
        attributes: &'static [&'static str],
        description: &'static str,
        look: Look,
    ) -> Self {
        let kind = match look {
            Look::Gauge(_) | Look::Seconds(_) => Kind::Gauge,
            Look::Total(_) | Look::TotalSeconds(_) => Kind::Counter,
        };
        Self { metric: Metric { name, kind, unit, attributes, description }, look }
    }

    /// Has this metric collected along with the others of `meter`.
    fn register(&'static self, meter: &Meter, slot: &Slot) {
        let Metric { name, unit, description, .. } = self.metric;
        let slot = slot.clone();
        match self.look {
            Look::Gauge(look) => {
                let gauge = meter.i64_observable_gauge(name).with_unit(unit).with_description(description);
                gauge.with_callback(move |to| look(&slot.see(), &mut |value, with| to.observe(value, with))).build();
            }
            Look::Seconds(look) => {
                let gauge = meter.f64_observable_gauge(name).with_unit(unit).with_description(description);
                gauge.with_callback(move |to| look(&slot.see(), &mut |value, with| to.observe(value, with))).build();
            }
            Look::Total(look) => {
                let counter = meter.u64_observable_counter(name).with_unit(unit).with_description(description);
                counter.with_callback(move |to| look(&slot.see(), &mut |value, with| to.observe(value, with))).build();
            }
            Look::TotalSeconds(look) => {
                let counter = meter.f64_observable_counter(name).with_unit(unit).with_description(description);
                counter.with_callback(move |to| look(&slot.see(), &mut |value, with| to.observe(value, with))).build();
            }
        }
    }
}

/// All of them.
pub(super) fn all() -> impl Iterator<Item = &'static Observed> {
    [raft::ALL, cluster::ALL, queues::ALL, storage::ALL, process::ALL].into_iter().flatten()
}

/// The node that is looked at, as long as it lives; nothing keeps one that has ended. A node that starts again in the same process
/// puts itself into the place of the one before.
#[derive(Clone, Default)]
pub(super) struct Slot(Arc<Mutex<Watched>>);

#[derive(Default)]
struct Watched {
    source: Option<Weak<Source>>,
    last: Option<(Instant, Arc<Seen>)>,
}

impl Slot {
    /// A slot into which all metrics of `meter` look that are looked at.
    pub(super) fn new(meter: &Meter) -> Self {
        let slot = Self::default();
        all().for_each(|observed| observed.register(meter, &slot));
        slot
    }

    /// Has the figures of this node told, for as long as somebody keeps `source`.
    pub(super) fn watch(&self, source: &Arc<Source>) {
        let mut watched = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *watched = Watched { source: Some(Arc::downgrade(source)), last: None };
    }

    /// What is seen. Whoever collects at the same time waits for the one who looks, and sees the same.
    fn see(&self) -> Arc<Seen> {
        let mut watched = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let source = watched.source.as_ref().and_then(Weak::upgrade);
        let last = watched.last.as_ref().filter(|(at, seen)| {
            // What an ended node told is not told again.
            at.elapsed() < FIGURES_AGE_MAX && (source.is_some() || seen.node.is_none())
        });
        if let Some((_, seen)) = last {
            return seen.clone();
        }
        let seen = Arc::new(Seen { node: source.and_then(|source| source()), process: Process::look() });
        watched.last = Some((Instant::now(), seen.clone()));
        seen
    }
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Slot")
    }
}

/// A point for each of `all`: 1 for `one`, 0 for the rest.
fn one_of(all: &[&'static str], one: Option<&str>, key: &'static str, tell: Tell<i64>) {
    for each in all {
        tell(i64::from(one == Some(*each)), &[KeyValue::new(key, *each)]);
    }
}

/// A number as gauges have it.
fn whole(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
