"""Text of tables: the encodings, separators and line ends that spreadsheets and scripts write, as rows of cells."""

from __future__ import annotations

import codecs
import csv
import io
import re

from medfl.data.spelling import has_invisible, strip_cell
from medfl.errors import DataError

_BYTE_ORDER_MARKS = {  # the longer ones first: that of UTF-32 begins with that of UTF-16
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_WORKBOOKS = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")  # .xlsx and .ods, .xls
_SEPARATORS = ",;\t"
_SEPARATOR_LINE = re.compile(r'"?sep=([,;\t])"?[ \t]*(?:\r\n|\r|\n|\Z)', re.IGNORECASE)  # what Excel reads and writes first
_MAX_CELL = 10_000_000  # characters; csv allows 131,072, which a list of slices may exceed
_HOLE = "\0\0"  # a block that was never written; a single one is a matter of its cell


def decode_table(raw: bytes) -> str:
    """Return the text of a table: UTF-8, UTF-16 or UTF-32 by its mark of byte order, else UTF-8, else Windows-1252.

    Raises
    ------
    DataError
        ``INDEX-FORMAT`` for a workbook, or what is no text.
    """
    if raw.startswith(_WORKBOOKS):
        raise DataError("INDEX-FORMAT", "the index is a workbook of a spreadsheet.", "Save it as CSV (UTF-8).")
    encodings = [name for mark, name in _BYTE_ORDER_MARKS.items() if raw.startswith(mark)][:1] or _guess_encodings(raw)
    for encoding in encodings:
        try:
            text = raw.decode(encoding).rstrip("\x1a\0")  # what DOS and some tapes put at the end of a text
        except UnicodeDecodeError:
            continue
        if _HOLE not in text:
            return text
    what = "the index holds bytes that are no text in UTF-8, UTF-16 or Windows-1252."
    raise DataError("INDEX-FORMAT", what, "Save it as CSV in UTF-8.")


def _guess_encodings(raw: bytes) -> list[str]:
    """Return which encodings to try without a mark: in UTF-16 every other byte of a table is nearly always 0."""
    zeros = [raw[start:4096:2].count(0) for start in (0, 1)]
    if max(zeros) * 4 > len(raw[:4096]) and min(zeros) * 10 < max(zeros):
        return ["utf-16-be" if zeros[0] > zeros[1] else "utf-16-le"]
    return ["utf-8", "cp1252"]


def split_rows(text: str) -> list[list[str]]:
    """Return the cells of each row that is not blank, without blanks around them.

    Separated by commas, semicolons or tabs, whichever the first row has most of, or what the line ``sep=;`` before it names.

    Raises
    ------
    DataError
        ``INDEX-FORMAT`` for quotation marks that are not closed: everything behind them would be one cell.
    """
    text = text.lstrip("\ufeff")
    if line := _SEPARATOR_LINE.match(text):
        separator, text = line[1], text[line.end() :]
    else:
        header = _first_row(text)
        separator = max(_SEPARATORS, key=header.count)
    csv.field_size_limit(_MAX_CELL)
    try:
        # not `splitlines`, which also breaks at characters that cells hold
        rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True))
    except csv.Error:
        what = "the index is not a table: a quotation mark is not closed, or stands inside of a quoted cell."
        raise DataError("INDEX-FORMAT", what, 'Save it as CSV, with "" for a quotation mark inside of a cell.') from None
    strip = strip_cell if has_invisible(text) else str.strip
    cells = [[strip(cell) for cell in row] for row in rows]
    return [row for row in cells if any(row)]


def _first_row(text: str) -> str:
    """Return the first row that is not blank, without what is in quotation marks."""
    plain = re.sub(r'"(?:[^"]|"")*"', "", text[:100_000])
    return next((line for line in re.split(r"[\r\n]+", plain) if line.strip()), "")
