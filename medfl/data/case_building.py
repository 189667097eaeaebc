"""Building of cases from what a layout lists: pseudonyms for identities, one name for each split and class."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from medfl.data.cases import Case, Source, Split
from medfl.data.findings import Finding
from medfl.data.index.case_records import CaseRecord
from medfl.data.labels import parse_class
from medfl.data.layouts.copies import same_label, same_objects
from medfl.data.layouts.entries import Entry
from medfl.data.pseudonyms import patient_pseudonym, split_order
from medfl.data.spelling import parse_whole_number
from medfl.data.split_names import UNLABELLED, describe_split_names, parse_split_name
from medfl.errors import DataError
from medfl.site import Site
from medfl.study import Study


def find_conflict(group: Sequence[Entry], *, patient_ids: bool) -> DataError | None:
    """Return the error of an image that is listed, or lies here, several times with contradictory facts.

    Parameters
    ----------
    group : sequence of Entry
        Entries about one image.
    patient_ids : bool
        Whether the layout names patients; if not, each copy has an id of its own.
    """
    usable = [entry for entry in group if is_usable(entry)]
    facts = {(entry.patient if patient_ids else "", parse_split_name(entry.split), entry.annotated) for entry in usable}
    if len(facts) <= 1 and (len(usable) <= 1 or (same_label(usable) and same_objects(usable))):
        return None
    return conflict_error()


def conflict_error() -> DataError:
    """Return the error of an image that is there with contradictory facts."""
    what = "the image is there more than once, perhaps as a copy, with different labels, patients or splits."
    return DataError("CASE-CONFLICT", what, "Keep one of them, and the label that is right.")


def copies_warning(count: int) -> Finding:
    """Return the warning about an image that is there several times, with the same facts."""
    what = f"the image is there {count} times, in the index or as a copy; it is used once."
    return Finding.warning("CASE-DUP", what, "Remove the copies.")


def build_case(name: str, first: Entry, site: Site, study: Study, secret: bytes, splits_given: bool) -> Case:
    """Make a case of what is known about one image.

    Parameters
    ----------
    name : str
        Pseudonym of the case.
    first : Entry
        The image, its label and its patient.
    site, study : Site, Study
        Name the classes.
    secret : bytes
        Secret of the site.
    splits_given : bool
        Whether the index names splits, so that every case needs one.

    Raises
    ------
    DataError
        ``ID-MISSING``, ``SPLIT-VALUE``, ``LBL-CLASS``, or what is wrong with the image or the label.
    """
    if isinstance(first.image, DataError):
        raise first.image
    if isinstance(first.label, DataError):
        raise first.label
    if not first.patient:
        raise DataError("ID-MISSING", "the image names no patient.", "Fill in a pseudonymous id for each patient.")
    return Case(
        name=name,
        patient=patient_pseudonym(secret, site.name, first.patient),
        split_order=split_order(study.seed_of_splits, site.name, first.patient),
        image=first.image,
        label=_parse_label(first.label, site, study),
        split=_parse_split(first.split, splits_given),
        annotated=_parse_annotated(first.annotated),
    )


def build_record(
    name: str, status: str, entry: Entry, site: Site, study: Study, secret: bytes, *, copies: Sequence[Entry] = ()
) -> CaseRecord:
    """Return what is behind the pseudonym of a case, usable or not, and behind its copies."""
    start = _root_prefix(site.folder, site.data.root)
    label = entry.label
    return CaseRecord(
        study=study.name,
        case=name,
        patient=patient_pseudonym(secret, site.name, entry.patient) if entry.patient else "",
        original=entry.patient,
        image=tuple(dict.fromkeys(p for one in (entry, *copies) for p in _relative_paths(one.image, one.image_files, start))),
        label=_relative_paths(label, entry.label_files, start) if not isinstance(label, str) else (),
        text=label if isinstance(label, str) else "",
        annotated=_parse_annotated(entry.annotated),
        split=entry.split,
        status=status,
        damaged=tuple(os.fspath(path).removeprefix(start) for path in entry.damaged_files),
    )


def is_usable(entry: Entry) -> bool:
    """Return whether a layout found both image and label."""
    return not isinstance(entry.image, DataError) and not isinstance(entry.label, DataError)


def _parse_label(label: Source | str, site: Site, study: Study) -> Source | int:
    if isinstance(label, Source):
        return label
    try:
        return parse_class(label, study.task.classes, site.classes, positions=study.task.labels == "positions")
    except DataError as error:
        if error.code != "LBL-CLASS" or parse_whole_number(label) is not None:
            raise
        only = f"{site.data.label}={'|'.join(site.classes or study.task.classes)}"
        fix = f'{error.fix} If the site has further classes, where = "{only}" in [data] leaves their rows of the index out.'
        raise DataError(error.code, error.what, fix) from None


def _parse_split(text: str, given: bool) -> Split:
    name = parse_split_name(text)
    if name is None or (given and not name):
        what = (
            "the column 'split' holds a word that medfl does not know." if text else "the column 'split' is empty in this row."
        )
        fix = (
            f"Write {describe_split_names()}; or {UNLABELLED} to leave the row out. Without the column medfl splits by patient."
        )
        raise DataError("SPLIT-VALUE", what, fix)
    return name  # type: ignore[return-value]


def _parse_annotated(text: str) -> tuple[str, ...]:
    return tuple(filter(None, (part.strip() for part in re.split(r"[,;|]", text))))


@cache
def _root_prefix(folder: Path, root: str) -> str:
    """Return the beginning of the paths of all files; finding it out takes longer than all the rest of a record."""
    return os.path.join((folder / root).resolve(), "")


def _relative_paths(source: Source | DataError, meant: Sequence[Path], start: str) -> tuple[str, ...]:
    paths = meant if isinstance(source, DataError) else source.paths
    return tuple(os.fspath(path).removeprefix(start) for path in paths)
