//! The two clocks a replica reads.

use rustix::time::{ClockId, clock_gettime};

/// Nanoseconds of the clock that every container of a host shares and that never steps.
pub fn monotonic_ns() -> i64 {
    nanoseconds(ClockId::Monotonic)
}

/// Nanoseconds since the epoch; used only to number the starts of a replica.
pub fn realtime_ns() -> i64 {
    nanoseconds(ClockId::Realtime)
}

fn nanoseconds(clock: ClockId) -> i64 {
    let reading = clock_gettime(clock);
    reading.tv_sec * 1_000_000_000 + reading.tv_nsec
}
