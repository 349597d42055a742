//! Distributions of times that a replica measures, in seconds.

use prometheus::core::Collector;
use prometheus::{Histogram, HistogramOpts};

const BUCKETS_S: [f64; 14] = [
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
];

/// Cloning gives another handle to the same distributions.
#[derive(Debug, Clone)]
pub struct Measures {
    pub enqueue_delay: Histogram,
    pub processing: Histogram,
    pub commit: Histogram,
}

impl Default for Measures {
    fn default() -> Self {
        Self {
            enqueue_delay: histogram(
                "driftlab_enqueue_delay_seconds",
                "A frame's wait in its outgoing queue.",
            ),
            processing: histogram(
                "driftlab_processing_seconds",
                "An UPDATE or REPAIR from read to durable and answered.",
            ),
            commit: histogram(
                "driftlab_commit_seconds",
                "A write from accepted to released.",
            ),
        }
    }
}

impl Measures {
    pub fn collectors(&self) -> Vec<Box<dyn Collector>> {
        let all = [&self.enqueue_delay, &self.processing, &self.commit];
        all.map(|histogram| Box::new(histogram.clone()) as Box<dyn Collector>)
            .into()
    }
}

fn histogram(name: &str, help: &str) -> Histogram {
    let options = HistogramOpts::new(name, help).buckets(BUCKETS_S.to_vec());
    Histogram::with_opts(options).expect("constant options are valid")
}

/// Notes the time from `begun_ns` to `ended_ns`.
pub fn observe(histogram: &Histogram, begun_ns: i64, ended_ns: i64) {
    let elapsed_ns = ended_ns.saturating_sub(begun_ns).max(0);
    histogram.observe(elapsed_ns as f64 / 1e9);
}
