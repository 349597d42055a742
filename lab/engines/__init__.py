"""Executors of the simulated plane."""
