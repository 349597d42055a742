//! What a replica tells of itself as numbers, in the text format of Prometheus.

use prometheus::{
    Gauge, GaugeVec, IntCounter, IntGauge, Opts, Registry, TextEncoder, core::Collector,
};

use crate::owner::Report;
use crate::reading::staleness_ns;

type Metric = Result<Box<dyn Collector>, prometheus::Error>;

/// All metrics of a replica at a moment.
pub fn metrics_text(report: &Report, is_leader: bool) -> Result<String, prometheus::Error> {
    let status = &report.status;
    let registry = Registry::new();
    for (name, help, value) in status.counters.rows() {
        registry.register(counter(name, help, value)?)?;
    }
    registry.register(counter("commits", "Updates released.", status.commits)?)?;
    let gauges = [
        (
            "last_sequence",
            "Highest sequence stored.",
            status.last_sequence,
        ),
        ("prefix", "Length of the gapless prefix.", status.prefix),
        ("waiting", "Entries behind a gap.", status.waiting as u64),
        (
            "outstanding",
            "Attempts outstanding.",
            status.outstanding as u64,
        ),
    ];
    for (name, help, value) in gauges {
        let gauge = IntGauge::new(format!("driftlab_{name}"), help)?;
        gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        registry.register(Box::new(gauge))?;
    }
    let help = "How old the read model may be.";
    let staleness = Gauge::new("driftlab_staleness_seconds", help)?;
    if !is_leader {
        staleness.set(staleness_ns(report.monotonic_ns, status.as_of_ns) as f64 / 1e9);
    }
    registry.register(Box::new(staleness))?;
    let breakers = status.breakers.iter();
    let lags = status.lags.iter();
    let links = &report.links;
    let families = [
        family(
            ("breaker_state", "follower"),
            "Circuit breaker: 0 closed, 1 half-open, 2 open.",
            breakers.map(|(name, state)| (name, state.number() as f64)),
        ),
        family(
            ("lag", "follower"),
            "Entries that a follower is not known to have.",
            lags.map(|(name, lag)| (name, *lag as f64)),
        ),
        family(
            ("queue_depth", "peer"),
            "Frames that wait for a peer.",
            links.iter().map(|link| (&link.peer, link.frames as f64)),
        ),
        family(
            ("queue_bytes", "peer"),
            "Bytes that wait for a peer.",
            links.iter().map(|link| (&link.peer, link.bytes as f64)),
        ),
        family(
            ("connected", "peer"),
            "Whether a connection to the peer is open.",
            links
                .iter()
                .map(|link| (&link.peer, f64::from(link.is_connected))),
        ),
    ];
    for collector in families
        .into_iter()
        .chain(report.measures.collectors().into_iter().map(Ok))
    {
        registry.register(collector?)?;
    }
    TextEncoder::new().encode_to_string(&registry.gather())
}

fn counter(name: &str, help: &str, value: u64) -> Metric {
    let counter = IntCounter::new(format!("driftlab_{name}_total"), help)?;
    counter.inc_by(value);
    Ok(Box::new(counter))
}

/// A gauge for each of several replicas; one without any is not shown.
fn family<'name>(
    (name, label): (&str, &str),
    help: &str,
    values: impl Iterator<Item = (&'name String, f64)>,
) -> Metric {
    let gauges = GaugeVec::new(Opts::new(format!("driftlab_{name}"), help), &[label])?;
    for (replica, value) in values {
        gauges.with_label_values(&[replica]).set(value);
    }
    Ok(Box::new(gauges))
}
