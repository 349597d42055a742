"""Read latency, for the metrics that take its quantiles."""

from __future__ import annotations

import numpy as np

from lab.history import History
from lab.metrics.estimate import RunValue
from lab.metrics.ranks import quantile_with_never


def read_latency(history: History, q: float) -> RunValue:
    """Return the q-quantile in ns of answer - request over all reads; reads without an answer last beyond the run."""
    marks = history.marks
    asked, done = marks.rows("read"), marks.rows("read_done")
    answered_ns = dict(zip(marks.a[done].tolist(), marks.time_ns[done].tolist(), strict=True))
    latency, bounds = [], []
    for token, asked_ns in zip(marks.a[asked].tolist(), marks.time_ns[asked].tolist(), strict=True):
        if token in answered_ns:
            latency.append(answered_ns[token] - asked_ns)
        else:
            bounds.append(history.horizon_ns - asked_ns)
    return quantile_with_never(np.array(latency, dtype=np.int64), np.array(bounds, dtype=np.int64), q)
