"""Table of cases: what a model made of each, by pseudonym. It stays where the images are.

One CSV file, a row for each case, in the folder of a simulated site in a run, at a hospital, and beside predictions. Its
columns are ``case`` and ``patient`` (pseudonyms), ``score`` and ``flags``, and then

- of a segmentation, for each structure: ``dice``, ``hd95-mm``, ``surface-dice``, ``predicted-ml`` and ``true-ml``, each with
  the name of the structure after a dot. Of 2-D images, which state no millimetres, all is in pixels: ``predicted-px``.
- of a classification: ``truth`` and ``predicted``, the names of classes, and ``probability`` of each class.

A field is empty where a number is not known: without a truth, for a structure that nobody annotated, where it was not measured.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from medfl.errors import RunError
from medfl.system.files import write_private

CASES_FILE = "cases.csv"
PICTURES_FOLDER = "case-pictures"  # beside the table: a slice of each of the worst cases, named by its pseudonym
MASKS_FOLDER = "case-masks"  # beside the table, on request: a folder of predictions

Unit = Literal["ml", "px"]

_LENGTHS: Mapping[Unit, str] = {"ml": "mm", "px": "px"}
_HEAD = ("case", "patient", "score", "flags")
_CLASSIFIED = ("truth", "predicted")
_PROBABILITY = "probability"
_DIGITS = 6  # significant digits of a number


@dataclass(frozen=True)
class StructureResult:
    """What a model made of one structure of one case; nan where it is not known.

    Parameters
    ----------
    dice, surface_dice : float
        0 to 1.
    hd95 : float
        Millimetres; pixels of a 2-D image.
    predicted, true : float
        Volume of the prediction and of the truth, millilitres; of a 2-D image the area in pixels.
    """

    dice: float = math.nan
    hd95: float = math.nan
    surface_dice: float = math.nan
    predicted: float = math.nan
    true: float = math.nan

    @property
    def flag(self) -> str:
        """``"missed"``, ``"false positive"``, or nothing."""
        if self.predicted == 0 < self.true:
            return "missed"
        return "false positive" if self.true == 0 < self.predicted else ""


@dataclass(frozen=True)
class CaseResult:
    """What a model made of one case.

    Parameters
    ----------
    case, patient : str
        Pseudonyms.
    structures : mapping of str to StructureResult
        Of a segmentation: every foreground class of the study, by name.
    truth, predicted : str
        Of a classification: names of classes; `truth` is empty where it is not known.
    probabilities : mapping of str to float
        Of a classification: by name of the class.
    """

    case: str
    patient: str
    structures: Mapping[str, StructureResult] = field(default_factory=dict)
    truth: str = ""
    predicted: str = ""
    probabilities: Mapping[str, float] = field(default_factory=dict)

    @property
    def score(self) -> float:
        """Mean Dice over the annotated structures, or the probability of the true class; nan without a truth."""
        if self.probabilities:
            return self.probabilities.get(self.truth, math.nan)
        known = [each.dice for each in self.structures.values() if not math.isnan(each.dice)]
        return math.fsum(known) / len(known) if known else math.nan

    @property
    def flags(self) -> tuple[str, ...]:
        """What went wrong, in words: ``"missed tumour"``, ``"false positive tumour"``, ``"wrong class"``."""
        found = tuple(f"{each.flag} {name}" for name, each in self.structures.items() if each.flag)
        return (*found, "wrong class") if self.truth and self.predicted != self.truth else found


@dataclass(frozen=True)
class CaseTable:
    """Results of the cases of one table, and the unit of their sizes: volumes in ml, or areas in pixels."""

    results: tuple[CaseResult, ...]
    unit: Unit = "ml"


def size_unit(dimension: int) -> Unit:
    """Return the unit in which the sizes of structures are told: 2-D images state no millimetres."""
    return "ml" if dimension == 3 else "px"


def rank(result: CaseResult) -> tuple[bool, float, int, str]:
    """Return a key that sorts the worst cases first: by rising score, those without one last."""
    return math.isnan(result.score), 0.0 if math.isnan(result.score) else result.score, -len(result.flags), result.case


def picture_of(table: Path, case: str) -> Path:
    """Return where the picture of a case lies, if there is one."""
    return table.parent / PICTURES_FOLDER / f"{case}.npz"


def write_case_table(path: Path, table: CaseTable) -> Path:
    """Write a table for its owner alone (mode 0600), replacing an older one.

    Raises
    ------
    RunError
        ``DISK-FULL`` or ``RUN-FOLDER``.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_columns(table))
    writer.writerows(_fields(result) for result in table.results)
    return write_private(path, text.getvalue().encode(), "the table of cases")


def read_case_table(path: Path) -> CaseTable:
    """Read a table that `write_case_table` wrote.

    Raises
    ------
    RunError
        ``CASES-DAMAGED`` when it is another file, or damaged.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = csv.DictReader(file, strict=True)
            columns = tuple(rows.fieldnames or ())
            if columns[: len(_HEAD)] != _HEAD:
                raise ValueError("other columns")
            results = tuple(_read_row(row) for row in rows)
    except (OSError, ValueError, KeyError, csv.Error):
        fix = "Restore it from a copy, or make it again: resume the run, or predict again."
        raise RunError("CASES-DAMAGED", "the table of cases cannot be read.", fix) from None
    return CaseTable(results, "px" if any(name.startswith("predicted-px.") for name in columns) else "ml")


def _columns(table: CaseTable) -> Iterator[str]:
    yield from _HEAD
    first = table.results[0] if table.results else CaseResult("", "")
    size, length = table.unit, _LENGTHS[table.unit]
    for name in first.structures:
        for measure in ("dice", f"hd95-{length}", "surface-dice", f"predicted-{size}", f"true-{size}"):
            yield f"{measure}.{name}"
    if first.probabilities:
        yield from (*_CLASSIFIED, *(f"{_PROBABILITY}.{name}" for name in first.probabilities))


def _fields(result: CaseResult) -> Iterator[str]:
    yield from (result.case, result.patient, _format(result.score), "; ".join(result.flags))
    for each in result.structures.values():
        yield from map(_format, (each.dice, each.hd95, each.surface_dice, each.predicted, each.true))
    if result.probabilities:
        yield from (result.truth, result.predicted, *map(_format, result.probabilities.values()))


def _format(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.{_DIGITS}g}"


def _read_row(row: Mapping[str, str]) -> CaseResult:
    if None in row or None in row.values():  # more fields, or fewer, than there are columns
        raise ValueError("a torn row")
    structures: dict[str, list[float]] = {}
    probabilities: dict[str, float] = {}
    for column, text in row.items():
        measure, dot, name = column.partition(".")
        if measure == _PROBABILITY:
            probabilities[name] = _read_number(text)
        elif dot:
            structures.setdefault(name, []).append(_read_number(text))
    truth, predicted = (row.get(name, "") for name in _CLASSIFIED)
    found = {name: _read_structure(values) for name, values in structures.items()}
    return CaseResult(row["case"], row["patient"], found, truth, predicted, probabilities)


def _read_structure(values: Sequence[float]) -> StructureResult:
    dice, hd95, surface_dice, predicted, true = values
    return StructureResult(dice, hd95, surface_dice, predicted, true)


def _read_number(text: str) -> float:
    return float(text) if text else math.nan
