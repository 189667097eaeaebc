"""The reference of a study's keys is made from the code: it names every key, and the page is what the code says."""

from __future__ import annotations

from pathlib import Path

from tools import study_page

PAGE = Path(study_page.__file__).resolve().parents[1] / "docs" / "study.md"


def test_the_page_is_what_the_code_says() -> None:
    assert PAGE.read_text(encoding="utf-8") == study_page.build_page(), "run: python -m tools.study_page > docs/study.md"


def test_a_bar_in_an_example_does_not_end_a_cell() -> None:
    rows = [line for line in study_page.build_page().splitlines() if line.startswith("| `")]
    assert {line.replace(r"\|", "").count("|") for line in rows} <= {6, 7}
