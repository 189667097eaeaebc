"""Names that a study chooses freely and that become text elsewhere: in terminals, tables, Markdown and files that others open.

A study holds no code. Control characters would command a terminal or break a line, and MONAI runs a text that begins with
``$``, ``@`` or ``%`` as code, wherever in a configuration it stands; so a study that bears such a name is refused. Records of
studies can be opened all the same (run folders, approvals): what is written from them elsewhere goes through `plain_text`.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from typing import Any

from medfl.errors import Problem
from medfl.study.task import Task

CODE_SIGNS = ("$", "@", "%")  # monai.bundle: expression, reference, macro
_CONTROL = ("Cc", "Zl", "Zp")  # categories of Unicode: controls, separators of lines and paragraphs
_RELATIVE = re.compile(r"([@%])(?=#|::)")  # of monai.bundle: a place beside this one, also within a text
_MARKDOWN = re.compile(r"[\\`*|\[\]]|<(?=[A-Za-z/!?])")
_TURNING = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")  # show the text after them the other way round


def has_control(text: str) -> bool:
    """Return whether a text has characters that command instead of being shown.

    Examples
    --------
    >>> has_control("ne\u0301crose 5\u00a0mm"), has_control("a\\x1b[31m"), has_control("a\\nb")
    (False, True, True)
    """
    return any(_is_control(char) for char in text)


def plain_text(text: str) -> str:
    """Return a text that can stand anywhere: no control characters, and in quotes where MONAI would run it.

    Examples
    --------
    >>> plain_text("liver"), plain_text("$exit()"), plain_text("a\\nb")
    ('liver', "'$exit()'", 'a b')
    """
    shown = _RELATIVE.sub(r"\1 ", "".join(" " if _is_control(char) else char for char in text))
    return f"'{shown}'" if shown.startswith(CODE_SIGNS) else shown


def plain_values(values: Any) -> Any:
    """Return JSON values in which every text, names of keys too, is a `plain_text`: a configuration of which nothing is run."""
    if isinstance(values, dict):
        return {plain_text(key): plain_values(value) for key, value in values.items()}
    if isinstance(values, list):
        return [plain_values(value) for value in values]
    return plain_text(values) if isinstance(values, str) else values


def escape_markdown(text: str) -> str:
    """Return a text that Markdown shows as it is: no line breaks, and no links, tables, code or HTML of its own.

    Examples
    --------
    >>> print(escape_markdown("T1_post, <5 mm"), escape_markdown("[x](http://y)|<b>"))
    T1_post, <5 mm \\[x\\](http://y)\\|\\<b>
    """
    return _MARKDOWN.sub(r"\\\g<0>", "".join(" " if _is_control(char) else char for char in text))


def free_names(task: Task) -> Iterator[tuple[str, str]]:
    """Yield the key and the text of each name that a study chooses freely."""
    yield from (("task.classes", name) for name in task.classes)
    yield from (("task.channels", name) for name in task.channel_names)
    yield from (("task.codes", meaning) for _, meaning in task.segment_codes)


def name_problems(task: Task, file: str) -> list[Problem]:
    """Return what is wrong with the names in a study that is to be run.

    Parameters
    ----------
    task : Task
        The table of the study.
    file : str
        Name of the file, for the messages.
    """
    problems = []
    for key, name in free_names(task):
        if has_control(name):
            what = f"{name!r} has characters that cannot be shown, such as a line break."
            problems.append(Problem(file, key, what, "Write the name in one line of plain characters."))
        elif name.startswith(CODE_SIGNS):
            what = f"{name!r} begins with {name[0]!r}, which makes it code where others use the model (MONAI runs it)."
            problems.append(
                Problem(file, key, what, "Name it otherwise; a site's 'label-names' or 'classes' say what its data calls it.")
            )
    return problems


def _is_control(char: str) -> bool:
    return char in _TURNING or unicodedata.category(char) in _CONTROL
