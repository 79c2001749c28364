"""The boundary to hostile files: worker processes that decode, and what can be wrong."""

SIZE_BYTES = 8  # that hold the size of a part of a worker's answer
