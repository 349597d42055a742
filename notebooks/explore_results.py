# ---
# jupyter:
#   jupytext:
#     formats: py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Explore the results of a run
#
# This notebook reads a results folder and shows what is in it: the same numbers and figures as the report, as pandas
# tables that you can cut and plot in your own way. It computes nothing that decides a verdict.
#
# It reads the newest results. Set the environment variable `DRIFTLAB_RESULTS` to a results folder to read another.

# %%
import os
from dataclasses import asdict
from pathlib import Path

import pandas as pd
from IPython.display import display

import lab
from lab import store
from lab.reports import bands, figures, views

root = Path(lab.__file__).parents[1] / "results"
stored = store.read(store.find(root, os.environ.get("DRIFTLAB_RESULTS", store.LATEST)))
summary = stored.json("summary.json")
runs, faults, curves = (stored.table(f"{name}.parquet") for name in ("runs", "faults", "curves"))
print(summary["title"], "-", summary["question"])
print(views.sentence(summary))

# %% [markdown]
# ## Claims
# `word` is the outcome; "open" means that it cannot be told. `seed` is the run that speaks loudest against a claim, and
# `replay` shows that run again.

# %%
columns = ["word", "text", "variant", "value", "interval", "n", "reason", "seed", "replay"]
display(pd.DataFrame([asdict(claim) for claim in views.claims(summary)], columns=columns))

# %% [markdown]
# ## Key measures
# One row a measure, one column a variant. Intervals are 95 %; "> 5 s" means that the runs ended before the value was
# known.

# %%
key = views.key_table(summary)
pd.DataFrame(
    [[f"{cell.value} [{cell.interval}]" for cell in cells] for _, cells in key.rows],
    index=[head for head, _ in key.rows],
    columns=key.heads,
)

# %% [markdown]
# ## Single runs
# `runs` has one row a run. A `.censored` column says that the value beside it is only a lower bound, so a plain mean of
# such a column would be too low.

# %%
display(runs[["variant", "seed", "convergence", "convergence.censored", "amplification", "availability"]].head(10))
display(runs.groupby("variant")[["amplification", "availability", "retries"]].describe().T)

# %% [markdown]
# ## Divergence over time, with the faults behind it
# The thick line is the median run, the shaded area holds the middle 80 % of the runs, hatched bands are faults.

# %%
figures.divergence(summary, curves, faults)

# %% [markdown]
# ## How long until the replicas agreed again
# A curve that ends below 100 % at a triangle has runs that never converged.

# %%
figures.convergence(summary, runs, faults)

# %% [markdown]
# ## Faults
# What was broken, when, how often it was seen to act, and how long the replicas needed afterwards.

# %%
rows = views.fault_rows(bands.bands(faults, list(summary["variants"])), summary)
columns = ["number", "label", "variant", "when", "bit", "bit_note", "p50", "p95", "note"]
display(pd.DataFrame([asdict(row) for row in rows], columns=columns))

# %% [markdown]
# ## Your turn
# The curves behind the first figure: divergence is a step function, each value holds until the next time.

# %%
curves.groupby(["variant", "seed"])["share"].max().groupby("variant").describe()
