"""The table of codes: all that medfl raises is in it and nothing else, and it decides what the server may read."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

import medfl
from medfl.errors import DataError, codes, explain_code, load_codes, safe_reason, safe_sentence

PACKAGE = Path(medfl.__file__).parent
HYPHENATED = r"[A-Z][A-Z0-9]+(?:-[A-Z0-9]+)+"
STRINGS = re.compile(rf"(?:\[({HYPHENATED})\].*)|({HYPHENATED})", re.DOTALL)  # "[NODE-LOST] The node ...", "LBL-EMPTY"
ONE_WORD = re.compile(r"[A-Z]{4,}")  # only as the first argument of an exception


def codes_in(tree: ast.AST) -> Iterator[str]:
    """Yield the codes of one module: strings that are or begin with one, and what exceptions and findings are made with."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            if found := STRINGS.fullmatch(node.value):
                yield found[1] or found[2]
        elif isinstance(node, ast.Call) and node.args and isinstance(node.func, ast.Name):
            first = node.args[0]
            is_raised = node.func.id.endswith("Error") or node.func.id == "Finding"
            if is_raised and isinstance(first, ast.Constant) and ONE_WORD.fullmatch(str(first.value)):
                yield str(first.value)


def codes_in_source() -> set[str]:
    folders = (PACKAGE, PACKAGE / "strategies", PACKAGE / "clients")
    sources = (path.read_text(encoding="utf-8") for folder in folders for path in folder.rglob("*.py"))
    return {code for source in sources for code in codes_in(ast.parse(source))} | {"CONFIG"}  # which ConfigError gives itself


def test_every_code_in_the_source_is_in_the_table_and_the_other_way_round() -> None:
    used = codes_in_source()
    assert len(used) > 150
    assert used - set(load_codes()) == set(), "add them to medfl/errors/codes.toml"
    assert set(load_codes()) - used == set(), "nothing raises them"


def test_no_code_stands_in_two_sections() -> None:
    sections = tomllib.loads((PACKAGE / "errors" / "codes.toml").read_text(encoding="utf-8"))["section"]
    names = [name for section in sections for name in section["codes"]]
    assert len(names) == len(set(names)) == len(load_codes())


def test_the_server_reads_a_code_and_at_most_its_meaning() -> None:
    for name, code in load_codes().items():
        sentence = safe_reason(DataError(name, "DOE^JANE has 3 slices.", "Ask DOE^JANE.", "case-AB"))
        assert sentence == safe_sentence(name)
        meaning = code.meaning if code.leaves == "sentence" else "The details are in the log of the site."
        assert sentence == f"[{name}] {meaning}"


def test_every_code_is_explained() -> None:
    for name, code in load_codes().items():
        assert explain_code(name) == code.meaning, name
        assert code.meaning.endswith("."), name
        assert code.meaning[0].isupper() or code.meaning.startswith(("dcm2niix", "nginx")), name
        assert code.fix.strip().endswith((".", "`")), name
        assert code.leaves in ("code", "sentence", "nothing"), name


def test_a_code_that_only_old_runs_hold_is_still_explained() -> None:
    assert explain_code("STATE-MISSING") == "The algorithm needs a run with a name, and the server named none."
    assert "STATE-MISSING" not in load_codes()


def test_a_code_of_another_version_is_explained_by_its_kind() -> None:
    assert explain_code("DCM-OF-NEXT-YEAR") == "A problem of the DICOM files."
    assert explain_code("XYZ-OF-NEXT-YEAR") == "See the log of the site."


def test_an_error_is_reported_even_when_no_file_can_be_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = safe_sentence("SITE-ERROR")
    monkeypatch.setattr(codes, "_TABLE", tmp_path / "missing.toml")
    load_codes.cache_clear()
    codes._read_table.cache_clear()
    try:
        assert safe_reason(OSError("too many open files")) == expected
    finally:
        monkeypatch.undo()
        load_codes.cache_clear()
