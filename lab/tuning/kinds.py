"""The two functions that a search is given: one runs settings on seeds, one tells how far it is."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from lab.run import RunSet
from lab.spec.schema import Experiment

Run = Callable[[Experiment, Sequence[int]], RunSet]
Progress = Callable[[str, int, int], None]
