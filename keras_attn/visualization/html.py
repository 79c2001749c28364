"""Pages and pieces of pages from the templates of this package; every value is escaped."""

import functools
from importlib import resources

import jinja2
from markupsafe import Markup

from keras_attn import __version__

_FOLDER = resources.files("keras_attn.visualization")


def percent(share: float | None) -> str:
    """A share as text; a dash when there is none."""
    return "–" if share is None else f"{100 * share:.1f}%"


def render(template: str, **values) -> Markup:
    """Fill in a template of `templates/`; what a value holds is text, unless it is `Markup`."""
    return Markup(_environment().get_template(template).render(values))  # noqa: S704 - autoescaped


def stylesheet() -> Markup:
    """The style sheet of all pages, to be written into each."""
    return Markup((_FOLDER / "report.css").read_text(encoding="utf-8"))  # noqa: S704 - our own file


@functools.cache
def _environment():
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(
            lambda name: (_FOLDER / "templates" / name).read_text(encoding="utf-8")
        ),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["percent"] = percent
    environment.filters["or_dash"] = lambda value: "–" if value is None else value
    environment.globals |= {"stylesheet": stylesheet, "version": __version__}
    return environment
