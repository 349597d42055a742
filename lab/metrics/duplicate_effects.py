"""Operations that took effect more than once."""

from __future__ import annotations

import numpy as np

from lab.history import History
from lab.metrics.estimate import RunValue
from lab.metrics.metric import Metric
from lab.metrics.prepare import prepare


def _value(history: History) -> RunValue:
    """Return the number of effects beyond the first of one token at one replica within one life, over all replicas.

    The token counts, not the sequence: a write stored twice under two sequences is a duplicate. An apply that changed
    nothing (superseded) is no effect, and an effect after a loss of state replaces one that is gone.
    """
    prepared = prepare(history)
    effect = prepared.row_effect
    identity = np.sort(prepared.row_life[effect] * prepared.token_bound + prepared.row_token[effect] + 1)
    return RunValue(float(np.count_nonzero(identity[1:] == identity[:-1])))


METRIC = Metric(
    name="duplicate_effects",
    unit="count",
    direction="lower",
    summary="effects of an operation beyond its first one at a replica",
    function=_value,
    default="total",
    protocols=("changelog",),
)
