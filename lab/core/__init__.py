"""Arithmetic that everything above shares: keyed draws, quantile tables, backoff. No state, no floats inside a run."""
