"""The page on strategies says what the code says."""

from __future__ import annotations

from pathlib import Path

from medfl.strategies.strategy_registry import CLIENT_ONLY, STRATEGIES
from medfl.study.algorithms import ADDITIONS, ALGORITHMS
from tools import strategies_page

ROOT = Path(strategies_page.__file__).resolve().parents[1]


def test_the_page_is_what_the_code_makes() -> None:
    page = (ROOT / "docs" / "strategies.md").read_text(encoding="utf-8")
    assert page == strategies_page.build_page(), "run: python -m tools.strategies_page > docs/strategies.md"


def test_every_algorithm_option_addition_and_reason_is_listed() -> None:
    page = strategies_page.build_page()
    for name in {*STRATEGIES, *CLIENT_ONLY}:
        assert page.count(f"\n| `{name}` |") >= 2, name
        assert all(f"`{field.alias or key} = " in page for key, field in ALGORITHMS[name].options.model_fields.items()), name
        for reason in ALGORITHMS[name].incompatible.values():
            assert f". {reason[0].upper()}{reason[1:]}.\n" in page
    assert all(f"\n| `{addition}` |" in page for addition in ADDITIONS)


def test_the_files_that_it_names_exist() -> None:
    rows = [line for line in strategies_page.build_page().splitlines() if "`strategies/" in line and line.startswith("|")]
    named = {word.strip("`,") for row in rows for word in row.split() if word.strip("`,").endswith(".py")}
    assert len(named) > 10
    assert [name for name in sorted(named) if not (ROOT / name).is_file()] == []
