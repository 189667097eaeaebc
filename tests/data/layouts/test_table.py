from __future__ import annotations

from pathlib import Path

import pytest

from medfl.data.layouts import row_conditions, table
from medfl.data.layouts.msd import read_dataset_json
from medfl.data.layouts.row_conditions import count_blank_rows, filter_rows
from medfl.data.layouts.table import fill_pattern, read_table
from medfl.errors import DataError


@pytest.mark.parametrize("text", ["a,b\n1,2\n3,\n", "\ufeffa;b\r\n1;2\r\n3;\r\n", "a\tb\n1\t2\n\n3\n"])
def test_tables_as_spreadsheets_write_them(tmp_path: Path, text: str) -> None:
    (tmp_path / "t.csv").write_bytes(text.encode())
    table = read_table(tmp_path / "t.csv")
    assert table.columns == ("a", "b")
    assert table.rows == ({"a": "1", "b": "2"}, {"a": "3", "b": ""})


PLAIN = "image,label,note\nMüller.png,benign,x\n2.png,malignant,\n"


@pytest.mark.parametrize(
    "raw",
    [
        PLAIN.encode(),
        PLAIN.encode("utf-8-sig"),
        PLAIN.encode("cp1252"),
        PLAIN.replace(",", "\t").encode("utf-16"),
        b"\xfe\xff" + PLAIN.encode("utf-16-be"),
        PLAIN.encode("utf-16-le"),
        PLAIN.encode("utf-32"),
        ("sep=;\r\n" + PLAIN.replace(",", ";").replace("\n", "\r\n")).encode(),
        ('"sep=\t"\n' + PLAIN.replace(",", "\t")).encode("utf-16"),
        PLAIN.replace("\n", "\r").encode(),
        PLAIN.replace("\n", "\r\n").encode() + b"\x1a",
        PLAIN.encode() + bytes(200),
        PLAIN.replace("\n", ",\n").encode(),
        PLAIN.replace("\n", ",,,\n").encode(),
        "\n\n".join(PLAIN.replace(",", ";").split("\n")).encode(),
        PLAIN.replace("image", '"image"').replace("note", '"note"').encode(),
        PLAIN.replace("label", "\u200blabel\xa0").replace("benign", "benign ").encode(),
        PLAIN.replace(",label", ",\xa0label").encode(),
    ],
    ids=range(18),
)
def test_one_table_in_the_spellings_of_many_programs(tmp_path: Path, raw: bytes) -> None:
    (tmp_path / "t.csv").write_bytes(raw)
    table = read_table(tmp_path / "t.csv")
    assert table.columns == ("image", "label", "note")
    assert table.rows == (
        {"image": "Müller.png", "label": "benign", "note": "x"},
        {"image": "2.png", "label": "malignant", "note": ""},
    )


def test_decimal_commas_and_quoted_line_breaks_stay_in_their_cells(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text('image;"age, in\nyears, or so";note\na.png;61,5;"one\ntwo"\n')
    table = read_table(tmp_path / "t.csv")
    assert table.columns == ("image", "age, in\nyears, or so", "note")
    assert table.rows == ({"image": "a.png", "age, in\nyears, or so": "61,5", "note": "one\ntwo"},)


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        (b'image,label\n0.png,"benign\n1.png,malignant\n2.png,malignant\n', "quotation mark"),
        (b'image,label\n0.png,"benign\n1.png,"malignant"\n', "quotation mark"),
        (b"PK\x03\x04\x14\x00\x06\x00image,label\n", "workbook"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "workbook"),
        (b"image,label\n0.png,ben" + bytes(64) + b"\n", "no text"),
        (b"image,label\n\x81.png,benign\n", "no text"),
        ("image,label\n0.png,x\n".encode("utf-16")[:-1], "no text"),
        (b"image,label,\n0.png,benign,test\n", "have no name"),
        (b"image,label, label \n0.png,benign,b\n", "one name"),
    ],
)
def test_a_table_that_would_lose_something_is_refused(tmp_path: Path, raw: bytes, says: str) -> None:
    (tmp_path / "t.csv").write_bytes(raw)
    with pytest.raises(DataError, match=f"INDEX-FORMAT.*{says}"):
        read_table(tmp_path / "t.csv")


def test_the_nameless_first_column_of_pandas_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(",image,label\n0,a.png,x\n1,b.png,y\n")
    assert read_table(tmp_path / "t.csv").rows == ({"image": "a.png", "label": "x"}, {"image": "b.png", "label": "y"})


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


@pytest.mark.parametrize("error", [PermissionError(13, "Permission denied"), OSError(5, "Input/output error")])
@pytest.mark.parametrize("name", ["index.csv", "index.json", "dataset.json"])
def test_a_file_that_cannot_be_opened_is_not_said_to_be_missing(
    name: str, error: OSError, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / name).write_text("{}")

    def fail(path: Path) -> bytes:
        raise error

    monkeypatch.setattr(Path, "read_bytes", fail)
    with pytest.raises(DataError, match=r"INDEX-FORMAT.*cannot be opened"):
        read_dataset_json(tmp_path) if name == "dataset.json" else read_table(tmp_path / name)


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
        assert "where = " not in str(caught.value)  # a remedy that would drop the rest of the condition


def test_a_cell_holds_what_unicode_calls_a_line_break(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(b'a,b\nsee \x85 there,"two\nlines"\n')  # what Windows writes for an ellipsis
    assert [row["b"] for row in read_table(tmp_path / "t.csv").rows] == ["two\nlines"]


def test_rows_with_too_many_cells_are_refused_for_they_are_shifted(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("image,patient,label\n1.png,Doe, Jane,1\n2.png,x,1,,\n")
    with pytest.raises(DataError, match=r"INDEX-FORMAT.* 1 row") as caught:
        read_table(tmp_path / "t.csv")
    assert "Jane" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("Export of the study\nimage,label,patient\na.png,x,1\n", 2),
        ("Export of the study,,\nward 3,,\nimage,label,patient\na.png,x,1\n", 3),
        ("Export of the study\nimage;label;patient\na.png;x;1\n", 2),
        ("Export of the study\nscan,group\na.png,x\n", 2),
        ("Export of the study,2024\nimage,label,patient\na.png,x,1\n", 2),
        ("file,kind,note\na.png,image,mask\n", 0),
        (",scan,group\n0,s0.png,case\n1,s1.png,control\n", 0),
        (",scan,note\n0,case,mask\n1,image,label\n", 0),
        ("scan,group,\ns0.png,case,\ns1.png,control,\n", 0),
        (",scan,group,\n0,s0.png,case,\n1,mask,mask,\n", 0),
        ("scan,group\nmask,case\nimage,control\n", 0),
        ("image,kind\na.png,label\n", 0),
    ],
)
def test_a_title_above_the_names_of_the_columns_is_named(tmp_path: Path, text: str, line: int) -> None:
    (tmp_path / "index.csv").write_text(text)
    if not line:
        assert len(read_table(tmp_path / "index.csv", label="group", image="scan").rows) == text.count("\n") - 1
        return
    with pytest.raises(DataError, match=rf"INDEX-FORMAT.*are in line {line} of the index, below a title"):
        read_table(tmp_path / "index.csv", label="group", image="scan")


def test_a_table_is_read_again_only_when_it_has_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, reads, read = tmp_path / "t.csv", [], Path.read_bytes
    path.write_text("image,site\n1.png,a\n")
    monkeypatch.setattr(Path, "read_bytes", lambda self: reads.append(self) or read(self))  # type: ignore[func-returns-value]
    read_table(path)
    read_table(path)
    assert len(reads) == 2  # so young a file may change again without showing it
    monkeypatch.setattr(table, "_SETTLED", 0)
    tables = [read_table(path) for _ in range(5)]
    assert len(reads) == 3
    path.write_text("image,site\n1.png,a\n2.png,b\n")
    assert [len(each.rows) for each in (*tables[:1], read_table(path))] == [1, 2]


def test_the_sites_of_an_index_are_told_apart_in_one_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folded: list[str] = []
    fold = table.fold_value
    for module in (table, row_conditions):
        monkeypatch.setattr(module, "fold_value", lambda text: folded.append(text) or fold(text))  # type: ignore[func-returns-value]
    (tmp_path / "t.csv").write_text("image,site\n" + "".join(f"{n}.png,s{n % 100}\n" for n in range(1000)))
    index = read_table(tmp_path / "t.csv")
    for k in range(100):
        assert len(filter_rows(index, f"site=s{k}").rows) == 10
        assert count_blank_rows(index, f"site=s{k}") == 0
    assert len(folded) == 100 + 2 * 100  # each value once, and each condition


def test_rows_that_are_blank_where_they_are_chosen_are_counted(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("id,view,mask\n1,PA,m1\n2,AP,\n3,,m3\n4,L,m4\n5,,\n")
    index = read_table(tmp_path / "t.csv")
    assert count_blank_rows(index, "view=PA") == 2
    assert (
        count_blank_rows(index, "view=PA; mask!=") == 1
    )  # of the blank ones, the row that also lacks a mask is dropped by that
    assert count_blank_rows(index, "view=PA|; mask!=") == 0
    assert count_blank_rows(index, "") == 0
