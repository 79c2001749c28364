"""Parameters that the `Args:` block of a class or function does not describe."""

import inspect
import re


def undocumented(function):
    """The parameters that the `Args:` block does not name, and what it names that is none."""
    found = re.search(r"^Args:\n(.*?)(?:\n\n|\Z)", inspect.getdoc(function) or "", re.S | re.M)
    names = re.findall(r"^    (\w[\w, ]*):", found.group(1), re.M) if found else []
    documented = {name.strip() for entry in names for name in entry.split(",")}
    if inspect.isclass(function) and "__init__" not in vars(function):
        return []
    parameters = inspect.signature(function).parameters.values()
    named = {p.name for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)}
    return sorted((named - documented) | (documented - {p.name for p in parameters}))
