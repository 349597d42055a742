"""Experiment files: schema, positions of errors, units."""
