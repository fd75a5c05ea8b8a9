//! Metrics in the format of Prometheus.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicU64;

use jiff::Timestamp;
use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::Registry,
};

use super::{
    database::{RunState, StoredRun},
    live_run::EndedRun,
    served::HierarchyState,
};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfRun {
    hierarchy: String,
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfStep {
    hierarchy: String,
    outcome: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfCause {
    hierarchy: String,
    cause: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfImage {
    hierarchy: String,
    image: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfHierarchy {
    hierarchy: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfDelivery {
    hook: String,
    result: &'static str,
}

/// What became of a delivery, for the metrics.
#[derive(Clone, Copy, Debug)]
pub enum DeliveryResult {
    Accepted,
    Duplicate,
    Refused,
    Invalid,
}

pub struct Metrics {
    registry: Registry,
    runs: Family<OfRun, Counter>,
    run_seconds: Family<OfHierarchy, Histogram, fn() -> Histogram>,
    builds: Family<OfStep, Counter>,
    build_seconds: Family<OfHierarchy, Histogram, fn() -> Histogram>,
    failures: Family<OfCause, Counter>,
    lag: Family<OfImage, Gauge<f64, AtomicU64>>,
    /// Since when images are behind, to compute the lag when it is asked for.
    behind: Mutex<Vec<(OfImage, Timestamp)>>,
    images: Family<OfStep, Gauge>,
    queue: Gauge,
    deliveries: Family<OfDelivery, Counter>,
}

/// From a second to 9 hours.
fn seconds() -> Histogram {
    Histogram::new(exponential_buckets(1.0, 2.0, 16))
}

impl Default for Metrics {
    fn default() -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("rebuild"),
            runs: Family::default(),
            run_seconds: Family::new_with_constructor(seconds),
            builds: Family::default(),
            build_seconds: Family::new_with_constructor(seconds),
            failures: Family::default(),
            lag: Family::default(),
            behind: Mutex::default(),
            images: Family::default(),
            queue: Gauge::default(),
            deliveries: Family::default(),
        };
        let registry = &mut metrics.registry;
        registry.register("runs", "Ended runs, by result", metrics.runs.clone());
        registry.register(
            "run_duration_seconds",
            "Time from the start of a run to its end",
            metrics.run_seconds.clone(),
        );
        registry.register("builds", "Steps of runs, by outcome", metrics.builds.clone());
        registry.register(
            "build_duration_seconds",
            "Time of a step that built an image",
            metrics.build_seconds.clone(),
        );
        registry.register("failures", "Failed steps, by phase", metrics.failures.clone());
        registry.register(
            "image_lag_seconds",
            "Time since an image is not current; 0 for current images",
            metrics.lag.clone(),
        );
        registry.register("images", "Images, by state", metrics.images.clone());
        registry.register("queue_length", "Runs that wait", metrics.queue.clone());
        registry.register("webhooks", "Webhook deliveries, by result", metrics.deliveries.clone());
        metrics
    }
}

impl Metrics {
    pub fn delivery(&self, hook: &str, result: DeliveryResult) {
        let result = match result {
            DeliveryResult::Accepted => "accepted",
            DeliveryResult::Duplicate => "duplicate",
            DeliveryResult::Refused => "refused",
            DeliveryResult::Invalid => "invalid",
        };
        self.deliveries.get_or_create(&OfDelivery { hook: hook.to_owned(), result }).inc();
    }

    /// Counts a run, and its steps by its last event.
    pub(super) fn run_ended(&self, hierarchy: &str, run: &StoredRun, ended: &EndedRun) {
        let result = ended.state.name();
        let hierarchy = hierarchy.to_owned();
        self.runs.get_or_create(&OfRun { hierarchy: hierarchy.clone(), result }).inc();
        let began = run.began_at.unwrap_or_else(Timestamp::now);
        let took = began.duration_until(Timestamp::now()).as_secs_f64();
        if ended.state != RunState::Superseded {
            let of = OfHierarchy { hierarchy: hierarchy.clone() };
            self.run_seconds.get_or_create(&of).observe(took);
        }
        for step in &ended.steps {
            let text = |key: &str| step[key].as_str().unwrap_or_default().to_owned();
            let outcome = text("outcome");
            if outcome == "built" || outcome == "unchanged" {
                let of = OfHierarchy { hierarchy: hierarchy.clone() };
                let seconds = step["seconds"].as_f64().unwrap_or_default();
                self.build_seconds.get_or_create(&of).observe(seconds);
            }
            if outcome == "failed" {
                let phase = &step["failure"]["phase"];
                let cause = phase["name"].as_str().or(phase.as_str()).unwrap_or("unknown");
                let cause = OfCause { hierarchy: hierarchy.clone(), cause: cause.to_owned() };
                self.failures.get_or_create(&cause).inc();
            }
            self.builds.get_or_create(&OfStep { hierarchy: hierarchy.clone(), outcome }).inc();
        }
    }

    /// Takes the states of a hierarchy's images.
    pub(super) fn states(&self, hierarchy: &str, state: &HierarchyState) {
        let of = |image: &str| OfImage { hierarchy: hierarchy.to_owned(), image: image.to_owned() };
        let mut behind = self.behind.lock().unwrap_or_else(PoisonError::into_inner);
        behind.retain(|(image, _)| image.hierarchy != hierarchy);
        behind.extend(state.behind_since.iter().map(|(image, since)| (of(image), *since)));
        for image in state.images.keys() {
            self.lag.get_or_create(&of(image)).set(0.0);
        }
        for name in ["current", "behind", "held-back", "never-built"] {
            let count = state.images.values().filter(|image| image.state.name() == name).count();
            let of = OfStep { hierarchy: hierarchy.to_owned(), outcome: name.to_owned() };
            self.images.get_or_create(&of).set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }

    /// The text that Prometheus reads.
    pub(super) fn text(&self, queue: i64) -> String {
        self.queue.set(queue);
        let now = Timestamp::now();
        for (image, since) in self.behind.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            let lag = since.duration_until(now).as_secs_f64();
            self.lag.get_or_create(image).set(lag);
        }
        let mut text = String::new();
        _ = encode(&mut text, &self.registry);
        text
    }
}
