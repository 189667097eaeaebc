"""Columns of tables: the one that a name means, and names that miss a known one by little."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence

from medfl.data.layouts.shown_values import is_plain_value, names_person, seems_data
from medfl.data.spelling import fold_column, fold_name
from medfl.errors import DataError

SPLIT_COLUMN, ANNOTATED_COLUMN = "split", "annotated"
_MAX_LISTED = 20  # columns that a message names
_PLAIN_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_. -]{0,31}")
_USUAL_COLUMNS = {
    "image",
    "label",
    "mask",
    "patient",
    "patient_id",
    "case",
    "id",
    "participant_id",
    "series_uid",
    SPLIT_COLUMN,
    ANNOTATED_COLUMN,
}
# columns that say of one split whether an image is in it; not `test` alone, which may be a test of a patient
SPLIT_FLAGS = {
    f"{start}{word}{end}": split
    for split, words in {"train": "train training", "validation": "val validation", "test": "test testing"}.items()
    for word in words.split()
    for start, end in (("is", ""), ("in", ""), ("", "set"))
}
# what columns are called elsewhere, by the name that medfl knows; without blanks and signs
_SYNONYMS = {
    "image": "images img imagefile imagepath imagename file filename filepath path scan volume picture dicom nifti "
    "bild bilder datei dateiname bilddatei",
    "label": "labels mask masks maske masken maskfile maskpath seg segmentation groundtruth gt target class classes diagnosis "
    "category outcome befund befunde diagnose diagnosen klasse",
    "patient": "patients patientid pid subject subjectid participant participantid person personid case caseid mrn",
    SPLIT_COLUMN: "splits set subset partition fold folds test traintest datasplit splitname isvalid holdout heldout isholdout "
    f"external isexternal {' '.join(SPLIT_FLAGS)}",
    ANNOTATED_COLUMN: "annotation annotations annotatedclasses annotatedlabels annotatedstructures annotatedorgans "
    "labelledclasses labeledclasses",
}
_ROLE_WORDS = {"label": frozenset(("mask", "masks", "seg", "segmentation", "label", "labels"))}  # in a longer name: lung_mask
_OTHER_WORDS = {"annotator", "annotators", "rows", "row", "columns", "column"}  # near to a column's name, and something else
_USUAL_FOLDED = frozenset(map(fold_column, _USUAL_COLUMNS))
_ENOUGH = 10  # rows, in which a word of the first one, were it a value, would have come again
_SURNAME = 5  # capitals in a row from which on a word may be one; fewer are a code, such as BMI or PSA
_SHORT = 5  # letters, below which one other letter makes another word
_LONG = 8  # letters, from which on two may be wrong


def has_column(columns: Collection[str], name: str) -> bool:
    """Return whether there is a column of a name, whatever the case of its letters."""
    return any(fold_name(column) == fold_name(name) for column in columns)


def find_column(
    columns: Sequence[str], name: str, what: str = "", section: str = "data", *, rows: Sequence[Mapping[str, str]]
) -> str:
    """Return the column that a name means, as the table has it; the case of letters does not count.

    Parameters
    ----------
    columns : sequence of str
        Names of the table.
    name : str
        Name that is looked for.
    what : str
        The key that names it, for the message.
    section : str
        Table that the key is written in, for the message.
    rows : sequence of mapping
        Cells below, by which `show_columns` tells whether names may be repeated.

    Raises
    ------
    DataError
        ``INDEX-COLUMN`` when there is none, or several.
    """
    found = [column for column in columns if fold_name(column) == fold_name(name)]
    if len(found) == 1:
        return found[0]
    if found:
        raise _twins_error(found)
    fix = [describe_columns(columns, name, what, rows=rows)]
    if what == "patient":
        fix.append(f'Name the column with the patient, or set patient = "" in [{section}] if every image is another patient.')
    elif what == "where":
        fix.append("Correct the name of the column in 'where'.")
    elif what:
        meant = find_meant(columns, name, what, rows)
        fix.append(f'Set {what} = "{meant[0] if meant else "..."}" in [{section}].')
    hint = f" ({what})" if what else ""
    raise DataError("INDEX-COLUMN", f"the index has no column {name!r}{hint}.", " ".join(filter(None, fix)))


def find_optional_column(columns: Sequence[str], name: str) -> str | None:
    """Return the column of a name that a table need not have, as the table has it.

    One that misses the name by little is refused: to pass over it would be to pass over what it says.

    Raises
    ------
    DataError
        ``INDEX-COLUMN``.
    """
    twins = [column for column in columns if fold_column(column) == fold_column(name)]
    if len(twins) > 1:
        raise _twins_error(twins)
    if twins and fold_name(twins[0]) == fold_name(name):
        return twins[0]
    near = twins or [column for column in columns if is_misspelt(column, name)]
    if near:
        what = f"the index has a column {near[0]!r}, which is probably meant to be {name!r}, and would not be used."
        raise DataError("INDEX-COLUMN", what, f"Call it {name!r}, or give it a name of its own.")
    return None


def refuse_misspelt_columns(columns: Sequence[str], known: Collection[str]) -> None:
    """Refuse columns that miss a known name by little, and those that are one known name twice.

    Raises
    ------
    DataError
        ``INDEX-COLUMN``.
    """
    exact = {fold_name(name) for name in known}
    rest = [column for column in columns if fold_name(column) not in exact]
    for name in known:
        find_optional_column(columns if has_column(columns, name) else rest, name)


def describe_columns(columns: Sequence[str], wanted: str, role: str = "", *, rows: Sequence[Mapping[str, str]]) -> str:
    """Return a sentence with the columns that there are, and the one that was probably meant.

    Names of columns are repeated only if they are those of a header: in a table without a header they are a patient.
    """
    plain = _plain_names(columns, rows)
    if not plain:
        return "None of its columns has a usual name: is its first row the names of the columns?"
    listed = ", ".join(plain[:_MAX_LISTED]) + (", ..." if len(columns) > len(plain[:_MAX_LISTED]) else "")
    meant = find_meant(columns, wanted, role, rows)
    return f"The index has: {listed}." + (f" Did you mean {meant[0]!r}?" if meant else "")


def _plain_names(columns: Sequence[str], rows: Sequence[Mapping[str, str]]) -> list[str]:
    return [name for name, shown in show_columns(columns, rows=rows).items() if shown == name]


def find_meant(columns: Sequence[str], wanted: str, role: str, rows: Sequence[Mapping[str, str]]) -> list[str]:
    """Return the columns that were probably meant, of those whose names may be shown."""
    plain = _plain_names(columns, rows)
    return [*find_synonyms(plain, wanted), *find_synonyms(plain, role)]


def find_synonyms(columns: Collection[str], name: str) -> list[str]:
    """Return the columns that may be meant by a name: misspelt, or as other data sets call them.

    Examples
    --------
    >>> find_synonyms(["is_test", "max", "Mask"], "split"), find_synonyms(["max", "lung_mask"], "label")
    (['is_test'], ['lung_mask'])
    """
    synonyms, role = _SYNONYMS.get(fold_name(name), "").split(), _ROLE_WORDS.get(fold_name(name), frozenset())
    near = [column for column in columns if fold_column(column) == fold_column(name) or is_misspelt(column, name)]
    meant = [
        column for column in columns if fold_column(column) in synonyms or role & set(re.split("[^a-z]+", fold_name(column)))
    ]
    return list(dict.fromkeys([*near, *meant]))


def show_columns(columns: Sequence[str], own: Collection[str] = (), *, rows: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """Return what columns can be called on a screen: their names, or where they stand if a name could be a patient's.

    In a table without a header, the first row is a patient, and any of its cells may be a usual name, as the label ``case``.
    Other names than the usual ones are shown only if this is certainly a header: no cell is like those below, and two names
    are known, or one above many rows, files or numbers. And then only plain words, no surname in capitals, and no reader.

    Parameters
    ----------
    columns : sequence of str
        Names of the table.
    own : collection of str
        Names that the site gives in its settings, which are no secret.
    rows : sequence of mapping
        Cells below, by column.

    Examples
    --------
    >>> show_columns(["image", "label", "DOE^JANE"], rows=[])
    {'image': 'image', 'label': 'label', 'DOE^JANE': 'column 3'}
    >>> show_columns(["Jane Doe", "case"], rows=[])
    {'Jane Doe': 'column 1', 'case': 'case'}
    """
    settings = set(map(fold_column, filter(None, own)))
    repeated = {name for name in columns if any(_is_cell(name, row[name]) for row in rows)}
    usual = [name for name in columns if fold_column(name) in _USUAL_FOLDED | settings and name not in repeated]
    known = {*usual, *(name for role in _SYNONYMS for name in find_synonyms(columns, role))}
    sure = len(known) > 1 or any(len(rows) >= _ENOUGH or _are_data([row[name] for row in rows]) for name in known)
    if sure and not repeated and not any(seems_data(name, [row[name] for row in rows]) for name in columns):
        in_capitals = all(map(str.isupper, known))
        usual += [name for name in columns if _is_plain_name(name, in_capitals=in_capitals)]
    return {name: name if name in usual else f"column {k}" for k, name in enumerate(columns, start=1)}


def count_column_names(names: Collection[str], own: Collection[str] = ()) -> int:
    """Count the names that are usual for a column, or among those that the site gives in its settings."""
    known = _USUAL_FOLDED | set(map(fold_column, filter(None, own)))
    return sum(fold_column(name) in known for name in names)


def _is_cell(name: str, cell: str) -> bool:
    return fold_name(cell) == fold_name(name)


def _are_data(cells: Sequence[str]) -> bool:
    """Return whether cells are of another form than names have: files, or with digits."""
    return bool(cells) and all(seems_data(cell, ()) or any(map(str.isdigit, cell)) for cell in cells)


def _is_plain_name(name: str, *, in_capitals: bool) -> bool:
    """Return whether a name is a few plain words; one in capitals may be a surname, unless all of the header is in capitals."""
    if not _PLAIN_NAME.fullmatch(name) or not is_plain_value(name) or names_person(name):
        return False
    return in_capitals or not any(word.isupper() and len(word) >= _SURNAME for word in re.findall(r"[A-Za-z]+", name))


def _twins_error(names: Sequence[str]) -> DataError:
    listed = " and ".join(map(repr, names[:2]))
    what = f"the index has the columns {listed}, of which nobody can tell which one counts."
    return DataError("INDEX-COLUMN", what, "Keep one of them, or give one another name.")


def is_misspelt(column: str, name: str) -> bool:
    """Return whether a column misses a name by a letter or two.

    Examples
    --------
    >>> is_misspelt("spilt", "split"), is_misspelt("split_2", "split"), is_misspelt("series_id", "series_uid")
    (True, False, False)
    """
    one, other = fold_column(column), fold_column(name)
    allowed = 0 if len(other) < _SHORT else 1 if len(other) < _LONG else 2
    if one in _OTHER_WORDS or one.rstrip("0123456789") == other:  # EchoTime2, split_1: one of several of the kind
        return False
    if one.endswith("id") and not one.endswith("uid") and other.endswith("uid"):  # a number in a system is no UID of DICOM
        return False
    return 0 < _count_edits(one, other, allowed) <= allowed


def _count_edits(one: str, other: str, limit: int) -> int:
    """Return how many letters must be added, taken away, changed or swapped with the next; more than `limit` is not exact."""
    if abs(len(one) - len(other)) > limit:
        return limit + 1
    before: list[int] = []
    above = list(range(len(other) + 1))
    for i, letter in enumerate(one):
        row = [i + 1]
        for j, theirs in enumerate(other):
            cost = min(above[j + 1] + 1, row[j] + 1, above[j] + (letter != theirs))
            if i and j and letter == other[j - 1] and one[i - 1] == theirs:
                cost = min(cost, before[j - 1] + 1)
            row.append(cost)
        before, above = above, row
    return above[-1]
