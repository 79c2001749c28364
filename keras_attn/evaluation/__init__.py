"""Evaluate a run on a subset of the data."""
