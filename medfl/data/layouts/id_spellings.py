"""Ids of patients that differ in spelling only: spreadsheets take zeros away and add ``.0``, people change case and blanks."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Sequence

from medfl.data.findings import Finding
from medfl.data.patient_ids import split_issuer
from medfl.data.spelling import fold_id

_SHORTENED = re.compile(r"[0-9][.,]?[0-9]*E\+[0-9]{1,3}", re.IGNORECASE)
_SPELLING = "case, blanks, leading zeros or '.0'"


def similar_id_warnings(persons: Sequence[Collection[str]]) -> list[Finding]:
    """Return warnings when persons would be one if spelling did not count, or when programs shortened long numbers.

    They are suggestions only: ``007`` and ``7`` may well be two patients.

    Parameters
    ----------
    persons : sequence of collection of str
        Ids of each person, all of one origin: an index, folders or headers.
    """
    spelt: dict[str, set[str]] = defaultdict(set)
    owners: dict[str, set[int]] = defaultdict(set)
    for place, ids in enumerate(persons):
        for number in {split_issuer(one)[0] for one in ids} - {""}:
            spelt[fold_id(number)].add(number)
            owners[fold_id(number)].add(place)
    warnings = []
    alike = [owners[folded] for folded, ways in spelt.items() if len(ways) > 1 and len(owners[folded]) > 1]
    if count := len(set[int]().union(*alike)):
        what = f"the ids of {count} patients differ only in {_SPELLING} from another: one who is two may both train and test."
        warnings.append(Finding.warning("ID-SPELLING", what, "If they are the same people, write each id in one way."))
    if count := sum(_SHORTENED.fullmatch(one) is not None for ways in spelt.values() for one in ways):
        what = f"{count} id(s) are numbers as 1.23E+11, to which spreadsheets shorten long ones: patients may share one."
        warnings.append(Finding.warning("ID-SPELLING", what, "Export the ids as text."))
    return warnings


def unmatched_id_warnings(listed: Collection[str], patients: Collection[str]) -> list[Finding]:
    """Return warnings when patients would have a row in the table if the spelling of ids did not count.

    Parameters
    ----------
    listed : collection of str
        Ids of the table.
    patients : collection of str
        Ids of the images.
    """
    rows, unmatched = set(listed) - set(patients), set(patients) - set(listed)
    by_zeros = {one for one in unmatched if one.lstrip("0") in {row.lstrip("0") for row in rows} - {""}}
    by_spelling = {one for one in unmatched - by_zeros if fold_id(one) in {fold_id(row) for row in rows} - {""}}
    warnings = []
    if by_zeros:
        what = f"{len(by_zeros)} patient(s) have no row in the table, and would have one if leading zeros of ids did not count."
        fix = "A spreadsheet has probably removed the zeros: write the ids as text."
        warnings.append(Finding.warning("ID-ZEROS", what, fix))
    if by_spelling:
        what = f"{len(by_spelling)} patient(s) have no row in the table, and would have one if {_SPELLING} did not count."
        warnings.append(Finding.warning("ID-SPELLING", what, "Write the ids in the table as they are with the images."))
    return warnings
