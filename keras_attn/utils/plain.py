"""Plain values, as JSON has them."""

import math
import re
from collections.abc import Mapping


def plain(value):
    """`value` in the types of JSON: null for NaN and infinity, text for paths and other objects.

    Lone surrogates, which stand for bytes of file names that are not UTF-8, become escapes.
    """
    if isinstance(value, Mapping):
        return {plain(str(key)): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if value is None or isinstance(value, bool | int | float):
        return value
    if hasattr(value, "tolist"):  # arrays and numbers of NumPy
        return plain(value.tolist())
    return str(value).encode("utf-8", "backslashreplace").decode()


def slug(text: str) -> str:
    """`text` as the name of a file or layer: of letters, digits, dots, dashes and underscores."""
    return re.sub(r"[^\w.-]+", "_", text).strip("_")
