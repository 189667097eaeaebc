from __future__ import annotations

from pathlib import Path

import pytest

from medfl.data.layouts.table import fill_pattern, filter_rows, read_table
from medfl.errors import DataError


@pytest.mark.parametrize("text", ["a,b\n1,2\n3,\n", "\ufeffa;b\r\n1;2\r\n3;\r\n", "a\tb\n1\t2\n\n3\n"])
def test_tables_as_spreadsheets_write_them(tmp_path: Path, text: str) -> None:
    (tmp_path / "t.csv").write_bytes(text.encode())
    table = read_table(tmp_path / "t.csv")
    assert table.columns == ("a", "b")
    assert table.rows == ({"a": "1", "b": "2"}, {"a": "3", "b": ""})


def test_western_letters_and_quoted_commas(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes('a,b\nM\xfcnchen,"x, y"\n'.encode("latin-1"))
    assert read_table(tmp_path / "t.csv").rows == ({"a": "München", "b": "x, y"},)


@pytest.mark.parametrize(("text", "code"), [("", "INDEX-FORMAT"), ("a,a\n1,2\n", "INDEX-FORMAT"), (None, "INDEX-MISSING")])
def test_what_is_no_table(tmp_path: Path, text: str | None, code: str) -> None:
    if text is not None:
        (tmp_path / "t.csv").write_text(text)
    with pytest.raises(DataError) as caught:
        read_table(tmp_path / "t.csv")
    assert caught.value.code == code


def test_patterns_and_conditions(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("id,view,mask\n1,PA,m1\n2,AP,\n3,,m3\n4,L,m4\n")
    table = read_table(tmp_path / "t.csv")
    assert fill_pattern(table, "x/{id}_{mask}.png", what="image") == ["x/1_m1.png", "", "x/3_m3.png", "x/4_m4.png"]
    assert [row["id"] for row in filter_rows(table, "view=PA|AP").rows] == ["1", "2"]
    assert [row["id"] for row in filter_rows(table, "mask!=; view!=L").rows] == ["1", "3"]
    assert [row["id"] for row in filter_rows(table, "view=").rows] == ["3"]
    assert filter_rows(table, "") == table
    for condition, code in {"vue=PA": "INDEX-COLUMN", "view": "INDEX-WHERE", "=PA": "INDEX-WHERE"}.items():
        with pytest.raises(DataError) as caught:
            filter_rows(table, condition)
        assert caught.value.code == code


def test_a_cell_holds_what_unicode_calls_a_line_break(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(b'a,b\nsee \x85 there,"two\nlines"\n')  # what Windows writes for an ellipsis
    assert [row["b"] for row in read_table(tmp_path / "t.csv").rows] == ["two\nlines"]


def test_rows_with_too_many_cells_are_refused_for_they_are_shifted(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("image,patient,label\n1.png,DOE, JANE,1\n2.png,x,1,,\n")
    with pytest.raises(DataError, match=r"INDEX-FORMAT.* 1 row") as caught:
        read_table(tmp_path / "t.csv")
    assert "JANE" not in str(caught.value)
