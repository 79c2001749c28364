"""Whole-or-absent files, argument checks, interruption, numerics, plain values, process facts."""
