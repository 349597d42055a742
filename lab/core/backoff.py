"""How long to wait before an attempt is repeated: one integer function, mirrored in Go and Rust
(`golden/backoff.json`).
"""

from __future__ import annotations

from lab.core.draws import scale

FIXED = 0
EXPONENTIAL = 1
BACKOFFS = {"fixed": FIXED, "exponential": EXPONENTIAL}

JITTER_NONE = 0
JITTER_FULL = 1
JITTER_EQUAL = 2
JITTER_DECORRELATED = 3
JITTERS = {"none": JITTER_NONE, "full": JITTER_FULL, "equal": JITTER_EQUAL, "decorrelated": JITTER_DECORRELATED}


def backoff_ns(backoff: int, jitter: int, base_ns: int, cap_ns: int, attempt: int, previous_ns: int, draw: int) -> int:
    """Return the wait after failed attempt `attempt` (1 is the first), in nanoseconds.

    `previous_ns` is this update's last wait (`base_ns` at first) and matters to decorrelated jitter alone; `draw` is a
    63-bit key. Shapes and names follow the AWS "Exponential Backoff And Jitter" simulator.
    """
    if jitter == JITTER_DECORRELATED:
        return min(cap_ns, base_ns + scale(draw, max(1, 3 * previous_ns - base_ns + 1)))
    window_ns = base_ns
    if backoff == EXPONENTIAL:
        for _ in range(attempt - 1):
            if window_ns >= cap_ns:
                break
            window_ns *= 2
        window_ns = min(cap_ns, window_ns)
    if jitter == JITTER_FULL:
        return scale(draw, window_ns + 1)
    if jitter == JITTER_EQUAL:
        half_ns = window_ns // 2
        return half_ns + scale(draw, window_ns - half_ns + 1)
    return window_ns
