//! A token bucket in bytes: how fast frames may leave a channel.

/// What may leave at once after a pause.
pub const BURST_BYTES: u64 = 65_536;
const SECOND_NS: u128 = 1_000_000_000;

/// The level is counted in billionths of a byte, so that nothing is lost in rounding.
#[derive(Debug)]
pub struct Throttle {
    bytes_per_s: u64,
    level: u128,
    read_at_ns: i64,
}

impl Throttle {
    /// A full bucket; `None` where the rate is not limited.
    pub fn new(bytes_per_s: u64, now_ns: i64) -> Option<Self> {
        (bytes_per_s > 0).then_some(Self {
            bytes_per_s,
            level: u128::from(BURST_BYTES) * SECOND_NS,
            read_at_ns: now_ns,
        })
    }

    /// Takes the tokens of a frame, or says how long to wait before there are enough.
    pub fn take(&mut self, frame_bytes: u64, now_ns: i64) -> Result<(), u64> {
        let elapsed_ns = u64::try_from(now_ns.saturating_sub(self.read_at_ns)).unwrap_or(0);
        self.read_at_ns = now_ns;
        let cost = u128::from(frame_bytes) * SECOND_NS;
        let room = cost.max(u128::from(BURST_BYTES) * SECOND_NS);
        let rate = u128::from(self.bytes_per_s);
        self.level = (self.level + u128::from(elapsed_ns) * rate).min(room);
        match self.level.checked_sub(cost) {
            Some(level) => {
                self.level = level;
                Ok(())
            }
            None => {
                let wait_ns = (cost - self.level).div_ceil(rate);
                Err(u64::try_from(wait_ns).unwrap_or(u64::MAX))
            }
        }
    }
}
