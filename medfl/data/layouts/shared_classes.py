"""Warnings about images that are taken for one kind and differ in what they show: view, body part, side or series."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

from medfl.data.cases import Source
from medfl.data.dicom.defined_terms import DEFINED_TERMS
from medfl.data.dicom.shown import shown_values
from medfl.data.findings import Finding
from medfl.data.layouts.entries import Entry, Listing
from medfl.study import Study
from medfl.study.image_conditions import parse_conditions

_KINDS = ("BodyPartExamined", "ViewPosition")
_KEYWORDS = ("Modality", *_KINDS, "Laterality", "SeriesDescription")  # by which images of one patient are told apart
_NO_VALUE = ""


def shared_class_warnings(listing: Listing, study: Study, layout: str, site_select: str) -> list[Finding]:
    """Return warnings ``LBL-SHARED`` and ``IMG-MIXED`` about the images that a layout found.

    Parameters
    ----------
    listing : Listing
        What was found, with the classes of patients.
    study : Study
        Says what kind of images is needed.
    layout : str
        Name of the layout: an index has a class for each image, a table of patients one for all of a patient's.
    site_select : str
        Conditions of the site, beside those of the study.
    """
    entries = [entry for entry in listing.entries if isinstance(entry.image, Source)]
    warnings = []
    if study.task.kind == "classification" and layout != "csv":
        warnings += _shared_warnings(entries)
    if study.task.modality == "XR":
        settled = {one.keyword for one in (*parse_conditions(study.task.select), *parse_conditions(site_select))}
        warnings += _mixed_warnings(entries, [keyword for keyword in _KINDS if keyword not in settled])
    return warnings


def _shared_warnings(entries: Sequence[Entry]) -> list[Finding]:
    by_patient: dict[str, list[Entry]] = defaultdict(list)
    for entry in entries:
        if entry.patient and entry.label and isinstance(entry.label, str):
            by_patient[entry.patient].append(entry)
    several = [own for own in by_patient.values() if len(own) > 1]
    if not several:
        return []
    what = (
        f"{len(several)} of {len(by_patient)} patient(s) have several images, up to {max(map(len, several))}, and one class "
        "for all of them."
    )
    told = []
    for keyword in _KEYWORDS:
        groups = [[_value(entry, keyword) for entry in own] for own in several]
        differing = {value for values in groups if len(set(values)) > 1 for value in values}
        if differing:
            told.append(f"{keyword} ({_describe(keyword, differing)})")
    what += f" They differ in {', '.join(told)}." if told else ""
    fix = (
        'If not all of them show it, say which are meant, for example select = "BodyPartExamined=CHEST; ViewPosition=PA|AP" in '
        "the table 'data' of site.toml, or write an index.csv with a row for each image."
    )
    return [Finding.warning("LBL-SHARED", what, fix)]


def _mixed_warnings(entries: Sequence[Entry], keywords: Iterable[str]) -> list[Finding]:
    """Return a warning about X-rays of several body parts or views, however they are spread over patients."""
    dicom = [entry for entry in entries if isinstance(entry.image, Source) and entry.image.files]
    values = {keyword: {_value(entry, keyword) for entry in dicom} - {_NO_VALUE} for keyword in keywords}
    told = [f"{keyword} ({_describe(keyword, found)})" for keyword, found in values.items() if len(found) > 1]
    if not told:
        return []
    fix = "If not all are meant, say which, for example select = \"ViewPosition=PA|AP\" in the table 'data' of site.toml."
    return [Finding.warning("IMG-MIXED", f"the X-rays differ in {' and '.join(told)}.", fix)]


def _value(entry: Entry, keyword: str) -> str:
    """Return a value of the first file of an image, in upper case; empty where there is none."""
    if not isinstance(entry.image, Source) or not entry.image.files:
        return _NO_VALUE
    return "|".join(shown_values(entry.image.files[0].header, keyword)).upper().strip()


def _describe(keyword: str, values: set[str]) -> str:
    """Return values that DICOM defines, and the number of others."""
    known = sorted(values & DEFINED_TERMS.get(keyword, frozenset()))
    others = len(values - {_NO_VALUE, *known})
    parts = [*known, *([f"{others} {'other' if known else 'different'} value(s)"] if others else [])]
    return ", ".join([*parts, *(["none"] if _NO_VALUE in values else [])])
