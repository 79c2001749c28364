"""The boundary to hostile files: worker processes that decode, and what can be wrong."""
