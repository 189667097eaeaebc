"""Every code that medfl can tell is explained to people at the server and, with what to do, in docs/findings.md."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import medfl
from medfl.errors import REFUSALS
from medfl.report.codes import CODES, LOCAL_CODES, explain_code

PACKAGE = Path(medfl.__file__).parent
DOC = PACKAGE.parent / "docs" / "findings.md"
_CODE = r"[A-Z][A-Z0-9]+(?:-[A-Z0-9]+)+"
_ROW = re.compile(r"\| `([A-Z0-9-]+)` \| (.+?) \| (.+) \|")


def told() -> set[str]:
    """Return the codes in the source: words such as LBL-EMPTY, whole or in square brackets, and what errors are made with."""
    codes = set()
    for path in (p for folder in (PACKAGE, PACKAGE / "strategies", PACKAGE / "clients") for p in folder.rglob("*.py")):
        if path.name == "codes.py" and path.parent.name == "report":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found = re.fullmatch(rf"({_CODE})", node.value) or re.match(rf"\[({_CODE})\]", node.value)
                codes |= {found[1]} if found else set()
            elif (
                isinstance(node, ast.Call) and node.args and isinstance(node.func, ast.Name) and node.func.id.endswith("Error")
            ):
                first = node.args[0]
                if isinstance(first, ast.Constant) and re.fullmatch(r"[A-Z]{4,}", str(first.value)):
                    codes.add(str(first.value))
    return codes | {"CONFIG"}  # given by the class of the error


def test_every_code_is_explained_and_nothing_else_is() -> None:
    assert len(told()) > 150
    known = [*CODES, *REFUSALS, *LOCAL_CODES]
    assert told() - set(known) == set(), "explain them in medfl/report/codes.py"
    assert set(known) - told() == set(), "nothing tells them"
    assert len(known) == len(set(known))


def test_explanations_are_sentences_in_order() -> None:
    for table in (CODES, REFUSALS, LOCAL_CODES):
        assert list(table) == sorted(table)
        assert all(words.endswith(".") and (words[0].isupper() or words.startswith("dcm2niix")) for words in table.values())
        assert all(explain_code(code) == words for code, words in table.items())


def test_the_page_of_findings_tells_every_code_and_what_to_do() -> None:
    rows = _ROW.findall(DOC.read_text(encoding="utf-8"))
    assert [code for code, _, _ in rows if [c for c, _, _ in rows].count(code) > 1] == []
    assert {code: words for code, words, _ in rows} == CODES | REFUSALS | LOCAL_CODES
    assert all(fix.strip().endswith((".", ".`", "`")) for _, _, fix in rows)
