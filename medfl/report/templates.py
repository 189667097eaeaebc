"""The one Jinja environment that all pages are made with: self-contained HTML, everything escaped."""

from __future__ import annotations

import functools
from importlib import resources
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from medfl.report.formatting import STATUS_TITLES, format_score, format_time, length_unit
from medfl.system.text import format_duration, join_words, plural

_FILES = resources.files("medfl.report")


def render_page(template: str, styles: tuple[str, ...], scripts: tuple[str, ...] = (), **context: Any) -> str:
    """Return a page as HTML that needs no other file.

    Parameters
    ----------
    template : str
        Name of a file of medfl.report, as all files here.
    styles, scripts : tuple of str
        Style sheets and scripts, put into the page one after the other as ``style`` and ``script``.
    **context : Any
        What the template shows.
    """
    style, script = ("".join(map(_read_file, names)) for names in (styles, scripts))
    page = _environment().from_string(_read_file(template))
    return page.render(style=Markup(style), script=Markup(script), **context)


@functools.cache
def _environment() -> Environment:
    # Names of hospitals and classes, and reasons that nodes give, are text of others: everything is escaped.
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    helpers = (format_duration, format_score, format_time, join_words, length_unit, plural)
    environment.globals.update({helper.__name__: helper for helper in helpers}, STATUS_TITLES=STATUS_TITLES)
    return environment


def _read_file(name: str) -> str:
    return (_FILES / name).read_text(encoding="utf-8")
