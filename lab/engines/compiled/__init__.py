"""The compiled executor: the same protocol source as the reference executor, lifted into one generated module and
compiled.

- `run(scenario, seed) -> History`: as `lab.engines.reference.run`; the history differs in `executor` alone.
- `histories(scenario, seeds) -> Iterator[History]`: one after the other with one worker.
- `run_many(scenario, seeds, policies=None, threads=2) -> Columns`: seeds x policies inside compiled code, without
  objects.
- `run_many(..., measures=True)` adds the measures of `lab.metrics` as columns, for runs without loss of state.
- `load(protocol)`: compile, or fetch from disk, before the first run; raise LiftError, one line, for what cannot be
  compiled. `load_for(scenario)` does so with what the scenario needs beyond the ordinary (links that remember, replicas
  that differ in service).

Generated modules and machine code are kept in `.lab/cache` under the current folder, or in $DRIFTLAB_CACHE. The first
use of a protocol on a machine costs seconds.
"""

from __future__ import annotations

from lab.engines.compiled.batch import Columns, histories, load_for, run, run_many
from lab.engines.compiled.generate import load
from lab.engines.compiled.layout import Room
from lab.engines.compiled.lint import LiftError
from lab.engines.compiled.measures import Measures

__all__ = ["Columns", "LiftError", "Measures", "Room", "histories", "load", "load_for", "run", "run_many"]
