//! The two clocks a replica reads.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use tokio::time::sleep;

/// Nanoseconds of the clock that every container of a host shares and that never steps.
pub fn monotonic_ns() -> i64 {
    nanoseconds(ClockId::Monotonic)
}

/// Nanoseconds since the epoch; used only to number the starts of a replica.
pub fn realtime_ns() -> i64 {
    nanoseconds(ClockId::Realtime)
}

/// Waits until a time of the monotonic clock; not at all when it is past.
pub async fn sleep_until_ns(due_ns: i64) {
    let left_ns = due_ns.saturating_sub(monotonic_ns());
    if let Ok(left_ns) = u64::try_from(left_ns) {
        sleep(Duration::from_nanos(left_ns)).await;
    }
}

fn nanoseconds(clock: ClockId) -> i64 {
    let reading = clock_gettime(clock);
    reading.tv_sec * 1_000_000_000 + reading.tv_nsec
}
