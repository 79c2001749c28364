"""Score files, metrics and the fusion of scores; NumPy only."""
