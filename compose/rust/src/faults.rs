//! Faults inside a replica: a clock that is wrong, a slow node, a slow disk.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize};

use crate::machine::after;
use crate::object::parse_object;

const OFFSET_NS_MAX: i64 = 3_600_000_000_000;
const DRIFT_PPM_MAX: i64 = 100_000;
const WAIT_NS_MAX: i64 = 10_000_000_000;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Faults {
    pub clock_offset_ns: i64,
    pub clock_drift_ppm: i64,
    pub service_ns: u64,
    pub fsync_ns: u64,
}

/// What a request changes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FaultChange {
    #[serde(default, deserialize_with = "present")]
    clock_offset_ns: Option<i64>,
    #[serde(default, deserialize_with = "present")]
    clock_drift_ppm: Option<i64>,
    #[serde(default, deserialize_with = "present")]
    service_ns: Option<i64>,
    #[serde(default, deserialize_with = "present")]
    fsync_ns: Option<i64>,
}

/// A key that is there has a number; `null` is none.
fn present<'de, Source: Deserializer<'de>>(source: Source) -> Result<Option<i64>, Source::Error> {
    i64::deserialize(source).map(Some)
}

impl FaultChange {
    /// Reads a request, or says what is wrong with it.
    pub fn parse(body: &[u8]) -> Result<Self, String> {
        let change: Self = parse_object(body)?;
        let ranges = [
            (
                "clock_offset_ns",
                change.clock_offset_ns,
                -OFFSET_NS_MAX,
                OFFSET_NS_MAX,
            ),
            (
                "clock_drift_ppm",
                change.clock_drift_ppm,
                -DRIFT_PPM_MAX,
                DRIFT_PPM_MAX,
            ),
            ("service_ns", change.service_ns, 0, WAIT_NS_MAX),
            ("fsync_ns", change.fsync_ns, 0, WAIT_NS_MAX),
        ];
        for (key, value, first, last) in ranges {
            if value.is_some_and(|value| !(first..=last).contains(&value)) {
                return Err(format!("{key} must be {first} to {last}"));
            }
        }
        Ok(change)
    }

    pub fn sets_clock(&self) -> bool {
        self.clock_offset_ns.is_some() || self.clock_drift_ppm.is_some()
    }
}

impl Faults {
    pub fn change(&mut self, change: FaultChange) {
        let wait = |value: Option<i64>, now: u64| {
            value.map_or(now, |value| u64::try_from(value).unwrap_or(0))
        };
        self.clock_offset_ns = change.clock_offset_ns.unwrap_or(self.clock_offset_ns);
        self.clock_drift_ppm = change.clock_drift_ppm.unwrap_or(self.clock_drift_ppm);
        self.service_ns = wait(change.service_ns, self.service_ns);
        self.fsync_ns = wait(change.fsync_ns, self.fsync_ns);
    }
}

/// The clock that entries are stamped with; it may be wrong, the monotonic one never is.
#[derive(Debug, Clone, Copy, Default)]
pub struct WallClock {
    offset_ns: i64,
    drift_ppm: i64,
    set_at_ns: i64,
}

impl WallClock {
    pub fn new(faults: &Faults, now_ns: i64) -> Self {
        Self {
            offset_ns: faults.clock_offset_ns,
            drift_ppm: faults.clock_drift_ppm,
            set_at_ns: now_ns,
        }
    }

    pub fn is_skewed(&self) -> bool {
        self.offset_ns != 0 || self.drift_ppm != 0
    }

    pub fn read(&self, now_ns: i64) -> i64 {
        let elapsed_ns = i128::from(now_ns) - i128::from(self.set_at_ns);
        let drift_ns = elapsed_ns * i128::from(self.drift_ppm) / 1_000_000;
        // The drift is a tenth of the time elapsed at most.
        now_ns
            .saturating_add(self.offset_ns)
            .saturating_add(drift_ns as i64)
    }
}

/// Waits that other tasks and threads look at on their own.
#[derive(Debug, Default)]
pub struct Waits {
    service_ns: AtomicU64,
    fsync_ns: AtomicU64,
    free_at_ns: AtomicI64,
    stopped: Mutex<bool>,
    stopping: Condvar,
}

impl Waits {
    pub fn set(&self, faults: &Faults) {
        self.service_ns.store(faults.service_ns, Ordering::Relaxed);
        self.fsync_ns.store(faults.fsync_ns, Ordering::Relaxed);
    }

    /// Blocks as long as a slow disk would; counts that before it does.
    pub fn stall(&self, stalled: &AtomicU64) {
        let fsync_ns = self.fsync_ns.load(Ordering::Relaxed);
        if fsync_ns == 0 {
            return;
        }
        stalled.fetch_add(1, Ordering::Relaxed);
        let stopped = self.stopped.lock().unwrap_or_else(PoisonError::into_inner);
        let wait = Duration::from_nanos(fsync_ns);
        // Over when the time is, or when the replica stops.
        let over = self
            .stopping
            .wait_timeout_while(stopped, wait, |stopped| !*stopped);
        drop(over);
    }

    /// Cuts short what waits for a slow disk.
    pub fn stop(&self) {
        *self.stopped.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.stopping.notify_all();
    }

    /// When an update that came at `arrived_ns` has been served, one after the other; `None`
    /// where serving takes no time.
    pub fn serve(&self, arrived_ns: i64) -> Option<i64> {
        let service_ns = self.service_ns.load(Ordering::Relaxed);
        if service_ns == 0 {
            return None;
        }
        // One thread reads all connections, so nothing comes between these two.
        let begun_ns = self.free_at_ns.load(Ordering::Relaxed).max(arrived_ns);
        let served_ns = after(begun_ns, service_ns);
        self.free_at_ns.store(served_ns, Ordering::Relaxed);
        Some(served_ns)
    }
}
