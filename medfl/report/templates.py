"""Pages of medfl.report: self-contained HTML, everything escaped; and its plain texts."""

from __future__ import annotations

import functools
from typing import Any

from jinja2 import Environment
from markupsafe import Markup

from medfl.report.formatting import STATUS_TITLES, format_score, format_time, length_unit
from medfl.system.templates import read_resource, template_environment
from medfl.system.text import format_duration, join_names, join_words, plural

_PACKAGE = "medfl.report"


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
    page = _environment(escape=True).get_template(template)
    return page.render(style=Markup(style), script=Markup(script), **context)


def render_text(template: str, **context: Any) -> str:
    """Return a text, such as Markdown, made from a file of medfl.report; values are put in as they are."""
    return _environment(escape=False).get_template(template).render(**context)


@functools.cache
def _environment(*, escape: bool) -> Environment:
    # Names of hospitals and classes, and reasons that nodes give, are text of others: in a page everything is escaped.
    environment = template_environment(_PACKAGE, escape=escape)
    helpers = (format_duration, format_score, format_time, join_names, join_words, length_unit, plural)
    environment.globals.update({helper.__name__: helper for helper in helpers}, STATUS_TITLES=STATUS_TITLES)
    return environment


def _read_file(name: str) -> str:
    return read_resource(_PACKAGE, name)
