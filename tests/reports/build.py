"""Synthetic results with the shape that a run writes: known numbers, censored runs and hostile texts."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lab import store
from lab.metrics import AGGREGATES, METRICS, RunValue, summarise

HORIZON_NS = 20_000_000_000
HOSTILE = '<script>alert("x")</script> & \x1b[31mred\x1b[0m [/red] $\\frac{1}{2}$ \u202eevil'
FAULTS = (
    ("partition", "partition leader+f1 | f2", 5.0, 8.0),
    ("crash", "crash f1 (keeps durable)", 12.0, 14.0),
    ("set", "set mode async", 15.0, 15.0),
)
SPEED = {"base": 1.0, "full-jitter": 0.55, "no-retry": 2.4}
SPEC = "title: A follower is cut off\nsystem:\n  protocol: changelog  # </pre><script>alert(1)</script>\n"


def runs_table(variants: list[str], seeds: list[int], censored_share: float = 0.15) -> pd.DataFrame:
    """Return a row a run with every metric; in the slowest variant some runs never converge."""
    rows = []
    for variant in variants:
        speed = SPEED.get(variant, 1.0)
        for seed in seeds:
            luck = np.random.default_rng([seed, 7])  # the same luck for every variant, as keyed draws give
            rows.append(_run(variant, seed, speed, luck, censored_share if speed > 2 else 0.0))
    return pd.DataFrame(rows)


def _run(variant: str, seed: int, speed: float, luck: np.random.Generator, censored_share: float) -> dict[str, Any]:
    converged = luck.lognormal(np.log(0.4 * speed), 0.5) * 1e9
    cut = bool(luck.random() < censored_share)
    values: dict[str, tuple[float | None, bool]] = dict.fromkeys(METRICS, (0.0, False))
    values |= {
        "convergence": (HORIZON_NS - 8e9 if cut else converged, cut),
        "convergence_final": (HORIZON_NS - 15e9 if cut else converged / 3, cut),
        "visibility_lag_p50": (0.021e9, False),
        "visibility_lag_p99": (2.6e9 * luck.uniform(0.9, 1.1), False),
        "staleness_max": (3.1e9 + converged, cut),
        "divergence_max": (0.2 * luck.uniform(0.8, 1.2), False),
        "divergence_area": (0.5 * speed * luck.uniform(0.8, 1.2), False),
        "amplification": (1.0 + 0.8 / speed * luck.uniform(0.8, 1.2), False),
        "transmissions": (float(round(8000 * (1 + 0.8 / speed * luck.uniform(0.8, 1.2)))), False),
        "retries": (float(luck.poisson(600 / speed)), False),
        "repairs": (float(luck.poisson(3)), False),
        "bytes_sent": (2.1e6, False),
        "availability": (1 - 0.004 * speed * luck.uniform(0.5, 1.5), False),
        "acknowledge_latency_p50": (0.034e9 * luck.uniform(0.9, 1.1), False),
        "acknowledge_latency_p99": (0.21e9 * luck.uniform(0.7, 1.4), False),
        "lost_acknowledged": (float(variant == "no-retry" and seed % 7 == 3), False),
        "order_violations": (None, False),
    }
    row: dict[str, Any] = {
        "variant": variant,
        "seed": seed,
        "digest": f"{seed:064x}",
        "trace_hash": f"{seed:064x}",
        "event_count": 40_000 + seed,
    }
    for name, (value, flag) in values.items():
        row[name] = np.nan if value is None else value
        row[f"{name}.censored"] = flag
    return row


def faults_table(runs: pd.DataFrame, labels: dict[int, str] | None = None, idle: int | None = None) -> pd.DataFrame:
    """Return a row a run and fault; `idle` is the index of a fault that never bites."""
    rows = []
    for run in runs.itertuples():
        for index, (kind, label, start_s, stop_s) in enumerate(FAULTS):
            bites = {"partition": 900 + int(run.seed) * 3, "crash": 1, "set": np.nan}[kind]
            rows.append(
                {
                    "variant": run.variant,
                    "seed": run.seed,
                    "index": index,
                    "kind": kind,
                    "label": (labels or {}).get(index, label),
                    "start_ns": int(start_s * 1e9),
                    "stop_ns": int(stop_s * 1e9),
                    "bit": 0 if index == idle else bites,
                    "healed": True,
                    "convergence": np.nan if kind == "set" else float(run.convergence) * (1 if index == 0 else 0.6),
                    "convergence.censored": bool(runs.loc[run.Index, "convergence.censored"]),
                }
            )
    return pd.DataFrame(rows)


def curves_table(runs: pd.DataFrame) -> pd.DataFrame:
    """Return divergence step functions of the first 40 seeds: a climb in each fault, a fall after it."""
    parts = []
    for run in runs[runs["seed"].isin(sorted(set(runs["seed"]))[:40])].itertuples():
        luck = np.random.default_rng([int(run.seed), 11])
        times = np.unique(np.concatenate(([0.0], np.sort(luck.uniform(0, HORIZON_NS / 1e9, 350)), [5, 8, 12, 14])))
        share = 0.003 * luck.random(len(times))
        for start, stop, height in ((5.0, 8.0, 0.22), (12.0, 14.0, 0.12)):
            left = float(run.convergence) / 1e9
            share = share + height * np.clip((times - start) / (stop - start), 0, 1) * np.clip(
                1 - (times - stop) / left, 0, 1
            )
        parts.append(
            pd.DataFrame(
                {"variant": run.variant, "seed": run.seed, "time_ns": (times * 1e9).astype(int), "share": share}
            )
        )
    return pd.concat(parts, ignore_index=True)


def measures_json(runs: pd.DataFrame, variant: str) -> dict[str, Any]:
    """Return every measure of a variant as `summary.json` holds it."""
    rows = runs[runs["variant"] == variant]
    found: dict[str, Any] = {}
    for name, metric in METRICS.items():
        values = [
            RunValue(None if np.isnan(value) else float(value), bool(flag))
            for value, flag in zip(rows[name], rows[f"{name}.censored"], strict=True)
        ]
        for aggregate in AGGREGATES:
            estimate = asdict(summarise(values, aggregate, metric.unit))
            estimate.pop("limit")
            found[f"{name}.{aggregate}"] = estimate
        found[name] = found[f"{name}.{metric.default}"]
    return found


def summary_of(runs: pd.DataFrame, title: str, question: str) -> dict[str, Any]:
    """Return `summary.json`: one claim that holds, one that is violated where no-retry is there, one open."""
    variants = list(dict.fromkeys(runs["variant"]))
    measured = {name: measures_json(runs, name) for name in variants}
    claims = []
    for name in variants:
        for text, measure, limit in (
            ("convergence.p95 < 2s", "convergence.p95", 2e9),
            ("lost_acknowledged == 0", "lost_acknowledged", 0),
        ):
            data = measured[name][measure]
            holds = data["value"] is not None and data["value"] <= limit
            claims.append(
                {
                    "claim": text, "variant": name, "holds": holds, "value": data["value"], "low": data["low"],
                    "high": data["high"], "unit": data["unit"], "seed": None if holds else 3,
                    "reason": "" if data["value"] is not None
                    else f"{data['censored']} of {data['n']} runs ended before it was reached",
                    "replay": "" if holds else f"lab replay cut-off --variant {name} --seed 3",
                }
            )  # fmt: skip
    claims.append(
        {
            "claim": "session_guarantees", "variant": variants[0], "holds": None, "value": None, "low": None,
            "high": None, "unit": None, "seed": 2, "reason": "no client read anything",
            "replay": "lab replay cut-off --seed 2",
        }
    )  # fmt: skip
    return {
        "schema": "driftlab.summary/1",
        "title": title,
        "question": question,
        "suite": "cut-off",
        "verdict": "fail" if any(claim["holds"] is False for claim in claims) else "inconclusive",
        "plane": "sim",
        "executor": "reference",
        "seeds": sorted({int(seed) for seed in runs["seed"]}),
        "digest": "5f" * 32,
        "horizon_ns": HORIZON_NS,
        "quiet_ns": 17_000_000_000,
        "wall_s": 12.75,
        "variants": {name: {"measures": measured[name], "digest": "ab" * 32, "label": name} for name in variants},
        "claims": claims,
        "faults": [
            {
                "kind": kind, "label": label, "start_ns": int(start * 1e9), "stop_ns": int(stop * 1e9),
                "colour": "#e69f00", "hatch": "||", "bit": 900,
            }
            for kind, label, start, stop in FAULTS
        ],
        "notes": ["Warm-up of 1 s is part of every run."],
        "recommendation": None,
    }  # fmt: skip


def tune_json(status: str = "gain") -> dict[str, Any]:
    """Return `tune.json` with 40 candidates over two objectives."""
    luck = np.random.default_rng(5)
    candidates = []
    for index in range(40):
        slow, cost = float(luck.uniform(0.3, 2.0)), float(luck.uniform(1.1, 2.6))
        told = index % 13 != 5
        candidates.append(
            {
                "values": {"policy.timeout": f"{int(slow * 300)}ms"},
                "score": slow * cost if told else None,
                "feasible": index % 4 != 0,
                "objectives": {"convergence.p99": slow * 1e9 if told else None, "amplification": cost},
                "stage": 1 + index % 3,
            }
        )
    return {"recommendation": _recommendation(status), "candidates": candidates}


def _recommendation(status: str) -> dict[str, Any]:
    def estimate(value: float, low: float, high: float, unit: str) -> dict[str, Any]:
        return {"value": value, "low": low, "high": high, "n": 60, "unit": unit, "censored": 0, "method": "paired"}

    sentences = {
        "gain": "The proposed settings lower the objectives by 31% (24% to 37%, 60 fresh seeds).",
        "no_gain": "No gain shown: between -3% and 4% on 60 fresh seeds. Keep the current settings.",
        "insufficient": "The gain lies between -20% and 45%: not enough evidence; about 480 seeds would narrow it.",
    }
    return {
        "status": status,
        "sentence": sentences[status],
        "current": {"policy.timeout": "250ms", "policy.retry.jitter": "none", "policy.retry.base": "50ms"},
        "proposed": {"policy.timeout": "410ms", "policy.retry.jitter": "full", "policy.retry.base": "50ms"},
        "gain": estimate(0.31, 0.24, 0.37, "share"),
        "objectives": [
            {
                "measure": "convergence.p99",
                "current": estimate(1.31e9, 1.2e9, 1.44e9, "ns"),
                "proposed": estimate(0.78e9, 0.7e9, 0.85e9, "ns"),
                "difference": estimate(-0.53e9, -0.62e9, -0.44e9, "ns"),
            },
            {
                "measure": "amplification",
                "current": estimate(1.82, 1.78, 1.86, "ratio"),
                "proposed": estimate(1.46, 1.43, 1.5, "ratio"),
                "difference": estimate(-0.36, -0.4, -0.32, "ratio"),
            },
        ],
        "constraints": [{"claim": "lost_acknowledged == 0", "variant": "base", "holds": True}],
        "seeds": {"search": 20, "confirm": 60},
        "snippets": {
            "experiment": "policy:\n  timeout: 410ms\n  retry:\n    jitter: full\n",
            "replica": '{\n  "policy": {"timeout_ns": 410000000, "jitter": "full"}\n}\n',
        },
    }


def build(
    root: Path,
    variants: tuple[str, ...] = ("base", "full-jitter", "no-retry"),
    seeds: int = 20,
    *,
    title: str = "A follower is cut off for three seconds",
    question: str = "How fast do the replicas agree again, and what does retrying cost?",
    labels: dict[int, str] | None = None,
    idle: int | None = None,
    tune: dict[str, Any] | None = None,
) -> store.Results:
    """Write unfinished results (no manifest, no report) below `root` and return them."""
    results = store.create(root, "cut-off")
    runs = runs_table(list(variants), list(range(1, seeds + 1)))
    summary = summary_of(runs, title, question)
    if tune is not None:
        summary["recommendation"] = tune["recommendation"]
        results.write_json("tune.json", tune)
    results.write_json("summary.json", summary)
    results.write_table("runs.parquet", runs)
    results.write_table("faults.parquet", faults_table(runs, labels, idle))
    results.write_table("curves.parquet", curves_table(runs))
    results.write("spec.yaml", SPEC.encode())
    json.dumps(summary, allow_nan=False)
    return results
