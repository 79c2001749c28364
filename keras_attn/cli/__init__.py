"""The command line: `keras-attn VERB`."""

from keras_attn.cli.parser import main

__all__ = ["main"]
