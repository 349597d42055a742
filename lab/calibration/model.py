"""The empirical network: samples of what links take beyond what is asked, on disk and added to an experiment."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lab.calibration.legs import ANSWER, BACK, FORWARD, LEGS, REQUEST
from lab.core.laws import SAMPLES, Law
from lab.history import Column
from lab.model.link import CLIENT
from lab.spec.samples import DELAY_MAX_NS, read_samples
from lab.spec.schema import Experiment
from lab.store import write_atomically

SCHEMA = "driftlab.base/1"
ROWS_MAX = 4_000
BASE = "base"  # forward and back in one file: for links of which no more is known


@dataclass(frozen=True, slots=True)
class NetworkModel:
    """What each leg takes beyond what is asked (ns, sorted), and the folder it is from, as experiment files name it."""

    samples: Mapping[str, tuple[int, ...]]
    folder: str = "data/calibration"

    def law(self, leg: str) -> Law:
        """Return a leg's law."""
        return Law(SAMPLES, source=f"{self.folder}/{leg}.csv", values_ns=tuple(self.samples[leg]))

    def base(self, names: tuple[str, ...]) -> dict[str, Law]:
        """Return `network.base` for replicas of which the first leads."""
        leader, *followers = names
        found = {f"{CLIENT}->{leader}": self.law(REQUEST), f"{leader}->{CLIENT}": self.law(ANSWER)}
        found |= {f"{leader}->{follower}": self.law(FORWARD) for follower in followers}
        return found | {f"{follower}->{leader}": self.law(BACK) for follower in followers}

    def on(self, experiment: Experiment) -> Experiment:
        """Return the experiment with these links below what it asks."""
        network = experiment.network.model_copy(update={"base": self.base(experiment.system.names)})
        return experiment.model_copy(update={"network": network})


def of_legs(parts: Mapping[str, list[Column]], folder: str = "data/calibration") -> NetworkModel:
    """Return the model of the samples of each leg; `forward.NAME` of all followers are one. At most ROWS_MAX evenly
    spread order statistics are kept.
    """
    gathered: dict[str, list[Column]] = {leg: [] for leg in LEGS}
    for name, columns in parts.items():
        gathered[name.partition(".")[0]] += columns
    samples = {leg: thinned(np.concatenate(columns)) for leg, columns in gathered.items()}
    both = np.concatenate([*gathered[FORWARD], *gathered[BACK]])
    return NetworkModel({**samples, BASE: thinned(both)}, folder)


def thinned(values: Column) -> tuple[int, ...]:
    """Return at most ROWS_MAX order statistics of the values, the least and the greatest among them, ascending."""
    if len(values) < 2:
        raise ValueError(f"{len(values)} samples are too few for a law: give more repetitions")
    ordered = np.minimum(np.sort(values), DELAY_MAX_NS)
    if len(ordered) > ROWS_MAX:
        ordered = ordered[np.rint(np.linspace(0, len(ordered) - 1, ROWS_MAX)).astype(np.int64)]
    return tuple(int(value) for value in ordered)


def summary(values: Column | tuple[int, ...]) -> dict[str, int]:
    """Return count, median, and high quantiles (ns) of samples."""
    column = np.asarray(values, dtype=np.int64)
    if not len(column):
        return {"n": 0}
    p50, p95, p99 = (int(value) for value in np.quantile(column, [0.5, 0.95, 0.99], method="inverted_cdf"))
    return {"n": len(column), "p50_ns": p50, "p95_ns": p95, "p99_ns": p99}


def write(model: NetworkModel, folder: Path, facts: Mapping[str, Any]) -> list[Path]:
    """Write a CSV file a leg (`delay_ns`), `base.csv` of both legs between replicas, and `base.json`, which says how
    they were measured; return the paths.
    """
    folder.mkdir(parents=True, exist_ok=True)
    said = f"# measured by `{facts['command']}`, {facts['date']}, {facts['machine']}, Docker {facts['engine']}\n"
    paths = []
    for leg, values in model.samples.items():
        text = f"{said}# {leg}: what it takes beyond what is asked\ndelay_ns\n" + "".join(f"{v}\n" for v in values)
        paths.append(folder / f"{leg}.csv")
        write_atomically(paths[-1], text.encode())
    paths.append(folder / "base.json")
    data = {**facts, "schema": SCHEMA, "legs": {leg: summary(values) for leg, values in model.samples.items()}}
    write_atomically(paths[-1], (json.dumps(data, indent=2, ensure_ascii=False) + "\n").encode())
    return paths


def read(folder: Path, named: str = "data/calibration") -> NetworkModel:
    """Return the model that `write` stored in `folder`. Raise ValueError naming the file and line that is wrong."""
    return NetworkModel({leg: read_samples(f"{leg}.csv", folder) for leg in (*LEGS, BASE)}, named)
