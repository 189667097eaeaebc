"""The page on findings says what the table of codes says."""

from __future__ import annotations

import re
from pathlib import Path

from medfl.errors import load_codes
from tools import findings_page

PAGE = Path(findings_page.__file__).resolve().parents[1] / "docs" / "findings.md"


def test_the_page_is_what_the_table_makes() -> None:
    written = PAGE.read_text(encoding="utf-8")
    assert written == findings_page.build_page(), "run: python -m tools.findings_page > docs/findings.md"


def test_every_code_has_one_row_below_its_heading() -> None:
    rows: list[tuple[str, ...]] = []
    for section in findings_page.build_page().split("\n## ")[1:]:
        title = section.partition("\n")[0]
        rows += [(title, *cells) for cells in re.findall(r"^\| `(.+?)` \| (.+) \| (.+) \|$", section, re.MULTILINE)]
    expected = [(c.section, c.name, *(text.replace("|", "\\|") for text in (c.meaning, c.fix))) for c in load_codes().values()]
    assert rows == expected
