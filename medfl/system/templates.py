"""How pages and texts are made from templates: one way for all rooms, in which a value that is missing is an error."""

from __future__ import annotations

import functools
from importlib import resources

from jinja2 import Environment, FunctionLoader, StrictUndefined


@functools.cache
def template_environment(package: str, *, escape: bool) -> Environment:
    """Return the Jinja environment for the templates of a package.

    Parameters
    ----------
    package : str
        Package whose files are templates, such as ``"medfl.report"``.
    escape : bool
        Whether values are escaped as HTML needs it; a plain text, such as Markdown, ends as its template does.
    """
    return Environment(
        autoescape=escape,
        loader=FunctionLoader(functools.partial(read_resource, package)),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=not escape,
    )


def read_resource(package: str, name: str) -> str:
    """Return the text of a file of a package."""
    return (resources.files(package) / name).read_text(encoding="utf-8")
