"""Generator of `docs/study.md` from the classes that read a study.

Write it anew with ``python -m tools.study_page > docs/study.md``.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

from medfl.study.key_reference import Key, list_keys, list_tables

_INTRODUCTION = """\
# The keys of a study

<!-- Made from the code: python -m tools.study_page > docs/study.md -->

A study is the file `pyproject.toml` in a folder of its own. Its keys stand in `[tool.flwr.app.config]` and in tables below it:
`training.patch` is the key `patch` of `[tool.flwr.app.config.training]`. Flower allows no lists there, so a list is a text with
commas: `patch = "96,96,96"`. `medfl study keys training` prints one table, `medfl study check STUDY` says of a wrong key which
one may be meant, and `-c training.patch='64,64,64'` of most commands sets another value for once.

[strategies.md](strategies.md) describes the algorithms, and says what can be combined.
"""
_TITLES = {
    "": "The study itself",
    "simulation": "`[simulation]`: how hospitals are simulated; no hospital of a federation reads it",
    "server": "`[server]`: what the server alone reads",
    "strategy.options": "`[strategy.options]`: options of the algorithm",
}
_ONLY = {"network": "network", "strategy.options": "algorithm"}


def build_page() -> str:
    """Return the page as Markdown."""
    return _INTRODUCTION + "".join(line for table in list_tables() for line in _section(table))


def _section(table: str) -> Iterator[str]:
    yield f"\n## {_TITLES.get(table, f'`[{table}]`')}\n\n"
    head = ["key", *([_ONLY[table]] if table in _ONLY else []), "meaning", "value", "default", "example"]
    yield f"| {' | '.join(head)} |\n|{'---|' * len(head)}\n"
    for key in list_keys(table):
        yield f"| {' | '.join(_cells(key))} |\n"


def _cells(key: Key) -> Iterator[str]:
    yield f"`{key.name}`"
    if key.table in _ONLY:
        yield f"`{key.only}`" if key.only else "all"
    for text in (key.meaning, key.allowed):
        yield text.replace("|", r"\|")
    yield _code(key.default) if key.default else "must be given" if key.required else "none"
    yield _code(key.example)


def _code(text: str) -> str:
    return f"`{text}`".replace("|", r"\|") if text else "–"


if __name__ == "__main__":
    sys.stdout.write(build_page())
