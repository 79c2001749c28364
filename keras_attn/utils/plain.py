"""Plain values, as JSON has them."""

import math


def plain(value):
    """`value` in the types of JSON: null for NaN and infinity, text for paths and other objects."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return plain(value.tolist()) if hasattr(value, "tolist") else str(value)
