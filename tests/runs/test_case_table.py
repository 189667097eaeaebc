"""The table of cases: what is written is what is read, in a file that a person can sort and only its owner can open."""

from __future__ import annotations

import csv
import math
import stat
from pathlib import Path

import pytest

from medfl.errors import RunError
from medfl.runs.case_table import CaseResult, CaseTable, StructureResult, rank, read_case_table, size_unit, write_case_table

FOUND = StructureResult(0.875, 2.5, 0.96875, 10.25, 12.5)
MISSED = StructureResult(0.0, 40.0, 0.0, 0.0, 3.5)
INVENTED = StructureResult(0.0, 40.0, 0.0, 0.25, 0.0)
UNKNOWN = StructureResult(predicted=1.5)  # nobody annotated it
SEGMENTED = CaseTable(
    (
        CaseResult("case-A", "pat-1", {"liver": FOUND, "tumour, T.2": MISSED}),
        CaseResult("case-B", "pat-1", {"liver": UNKNOWN, "tumour, T.2": INVENTED}),
    )
)
CLASSIFIED = CaseTable(
    (
        CaseResult("case-A", "pat-1", {}, "nodule", "clear", {"clear": 0.75, "nodule": 0.25}),
        CaseResult("case-B", "pat-2", {}, "", "nodule", {"clear": 0.125, "nodule": 0.875}),
    ),
)


@pytest.mark.parametrize("table", [SEGMENTED, CLASSIFIED, CaseTable((), "ml")])
def test_what_is_written_is_read_again_and_only_by_its_owner(tmp_path: Path, table: CaseTable) -> None:
    file = write_case_table(tmp_path / "cases.csv", table)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    read = read_case_table(file)
    assert repr(read) == repr(table)  # nan is not equal to itself


def test_sizes_of_flat_images_are_pixels(tmp_path: Path) -> None:
    assert (size_unit(3), size_unit(2)) == ("ml", "px")
    file = write_case_table(tmp_path / "cases.csv", CaseTable(SEGMENTED.results, "px"))
    assert read_case_table(file).unit == "px"
    assert "hd95-px.liver,surface-dice.liver,predicted-px.liver" in file.read_text()


def test_a_person_reads_score_and_flags_in_the_first_columns(tmp_path: Path) -> None:
    with write_case_table(tmp_path / "cases.csv", SEGMENTED).open(newline="") as file:
        first, second = csv.DictReader(file)
    assert (first["score"], first["flags"]) == ("0.4375", "missed tumour, T.2")
    assert (second["score"], second["flags"]) == ("0", "false positive tumour, T.2")
    assert (second["dice.liver"], second["predicted-ml.liver"], second["true-ml.liver"]) == ("", "1.5", "")


def test_a_case_is_scored_by_what_is_known_of_it() -> None:
    assert [result.score for result in SEGMENTED.results] == [0.4375, 0.0]
    wrong, open_ = CLASSIFIED.results
    assert (wrong.score, wrong.flags) == (0.25, ("wrong class",))
    assert math.isnan(open_.score)
    assert open_.flags == ()


def test_the_worst_come_first_and_those_without_a_score_last() -> None:
    both = [*CLASSIFIED.results, *SEGMENTED.results]
    assert [result.score for result in sorted(both, key=rank)][:3] == [0.0, 0.25, 0.4375]
    assert sorted(both, key=rank)[-1] is CLASSIFIED.results[1]


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[: len(text) - 12],  # a torn last row
        lambda text: text.replace("0.875", "good"),
        lambda text: text.replace("case,patient", "a,b"),
        lambda text: "",
        lambda text: text + "x,y\n",
    ],
)
def test_a_damaged_table_is_refused_without_a_word_of_its_content(tmp_path: Path, damage: object) -> None:
    file = write_case_table(tmp_path / "cases.csv", SEGMENTED)
    file.write_text(damage(file.read_text()))  # type: ignore[operator]
    with pytest.raises(RunError) as refused:
        read_case_table(file)
    assert refused.value.code == "CASES-DAMAGED"
    assert "case-A" not in str(refused.value)
