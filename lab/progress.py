"""Progress on stderr: one live line on a terminal, a plain line every few seconds elsewhere, nothing when quiet."""

from __future__ import annotations

import sys
import time

PLAIN_EVERY_S = 5.0


class Progress:
    """Shows `what done/total, rate, time left`. Data never goes to stderr, progress never to stdout."""

    def __init__(self, quiet: bool) -> None:
        self.quiet = quiet
        self.live = sys.stderr.isatty()
        self.what = ""
        self.started = self.shown = time.monotonic()

    def update(self, what: str, done: int, total: int) -> None:
        """Say that `done` of `total` are done."""
        if self.quiet:
            return
        now = time.monotonic()
        about = what.partition(":")[0]  # what comes after a colon may change on the way
        if about != self.what:
            self.what, self.started, self.shown = about, now, now
        finished = done >= total
        if not finished and now - self.shown < (0.1 if self.live else PLAIN_EVERY_S):
            return
        self.shown = now
        rate = done / max(now - self.started, 1e-3)
        left = "" if finished or not rate else f", about {_time(max(total - done, 0) / rate)} left"
        line = f"{what} {done}/{total}{left}"
        if self.live:
            sys.stderr.write(f"\r\x1b[K{line}" + ("\n" if finished else ""))
            sys.stderr.flush()
        elif not finished or now - self.started > PLAIN_EVERY_S:
            sys.stderr.write(line + "\n")


def _time(seconds: float) -> str:
    """Return a length of time as `45 s`, `3 min` or `2.5 h`."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
