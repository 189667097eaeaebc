"""Cohort: which cases a site has for a study, which are left out, and why."""

from __future__ import annotations

import hashlib
import hmac
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import get_args

from medfl.data.cases import Case, Cohort, Finding, Source, Split
from medfl.data.labels import class_index
from medfl.data.layouts.bids import is_bids, list_bids
from medfl.data.layouts.csv import is_csv, list_csv
from medfl.data.layouts.dicom import is_dicom, list_dicom
from medfl.data.layouts.entries import Entry, Listing
from medfl.data.layouts.folders import is_folders, list_folders
from medfl.data.layouts.msd import FILE, list_msd
from medfl.data.layouts.sources import visible_files
from medfl.data.pseudonyms import patient_pseudonym, pseudonym, split_order
from medfl.errors import DataError
from medfl.site import Site
from medfl.study import Study

_LAYOUTS: dict[str, Callable[[Site, Study], Listing]] = {
    "csv": list_csv,
    "msd": list_msd,
    "bids": list_bids,
    "dicom": list_dicom,
    "folders": list_folders,
}
_SPLITS = {"": "", "val": "validation", "valid": "validation", "training": "train", "testing": "test"}
_SPLITS |= {name: name for name in get_args(Split)}


def read_cohort(site: Site, study: Study) -> Cohort:
    """Find the cases of a site. Only headers and indices are read; no pixel is.

    Parameters
    ----------
    site : Site
        Says where the data is and how it is labelled.
    study : Study
        Says what is learnt.

    Returns
    -------
    Cohort
        Sorted, so that the same data gives the same cohort on every machine.

    Raises
    ------
    DataError
        ``SITE-CLASSES``, ``DATA-ROOT``, ``DATA-READ``, ``DATA-LAYOUT`` or ``DATA-EMPTY``, or a problem of the index as a whole.
    """
    if site.classes and len(site.classes) != len(study.task.classes):
        what = f"site {site.name} names {len(site.classes)} classes, the study has {len(study.task.classes)}."
        raise DataError("SITE-CLASSES", what, "Set 'classes' in site.toml to one name for each class, in the study's order.")
    if not site.root.is_dir():
        raise DataError("DATA-ROOT", f"the data folder of site {site.name} does not exist.", "Set data.root in site.toml.")
    try:
        listing = _LAYOUTS[_layout(site)](site, study)
    except OSError:
        what = f"the data folder of site {site.name} can not be read."
        raise DataError("DATA-READ", what, "Check disk, network drive and permissions.") from None
    entries = _share(listing.entries, site, study)
    if not entries:
        raise DataError(
            "DATA-EMPTY",
            f"site {site.name} has no images for this study.",
            "Check data.layout, data.index and data.where in site.toml.",
        )
    return _cohort(entries, listing, site, study)


def missing_classes(present: Iterable[int], study: Study) -> tuple[Finding, ...]:
    """Return a warning if the labels of a site lack foreground classes of the study entirely.

    Parameters
    ----------
    present : iterable of int
        Classes that occur at the site.
    study : Study
        Names the classes.
    """
    present = set(present)
    names = [name for value, name in enumerate(study.task.classes) if value not in present and name in study.task.foreground]
    if not names:
        return ()
    what = f"no case of this site has: {', '.join(names)}."
    return (Finding("LBL-NO-CLASS", "", what, "Check 'classes' in site.toml if the site does have it.", "warning"),)


def _layout(site: Site) -> str:
    if site.data.layout != "auto":
        return site.data.layout
    root = site.root
    tests: dict[str, Callable[[], bool]] = {
        "csv": lambda: is_csv(site),  # first: somebody wrote the index on purpose
        "msd": lambda: (root / FILE).is_file(),
        "bids": lambda: is_bids(root),
        "dicom": lambda: is_dicom(root),
        "folders": lambda: is_folders(root),
    }
    for name, fits in tests.items():
        if fits():
            return name
    if (root / site.data.index).is_file():
        return "csv"  # its error says which column is missing
    if next(visible_files(root), None) is None:
        what = f"the data folder of site {site.name} holds no file."
        raise DataError("DATA-EMPTY", what, "Put the images there, or set data.root in site.toml to where they are.")
    fix = "Write an index.csv with the columns image, label and patient, or set data.layout in site.toml."
    raise DataError("DATA-LAYOUT", f"the data folder of site {site.name} has no layout that medfl knows.", fix)


def _share(entries: Sequence[Entry], site: Site, study: Study) -> Sequence[Entry]:
    """Return the patients that are dealt to this site when one data set simulates several."""
    shares = site.data.shares
    if not shares:
        return entries
    classes: dict[str, str] = {}
    for entry in entries:
        classes.setdefault(entry.patient or entry.key, entry.label.casefold() if isinstance(entry.label, str) else "")
    seed = str(study.seed).encode()
    keyed = {p: hmac.new(seed, f"partition\x1f{p}".encode(), hashlib.sha256).hexdigest() for p in classes}
    dealt = sorted(classes, key=lambda patient: (classes[patient], keyed[patient]))
    mine = set(dealt[site.data.share :: shares])
    return [entry for entry in entries if (entry.patient or entry.key) in mine]


def _cohort(entries: Sequence[Entry], listing: Listing, site: Site, study: Study) -> Cohort:
    secret = site.secret()
    findings = [Finding.from_error(warning, level="warning") for warning in listing.warnings]
    same: dict[str, list[Entry]] = defaultdict(list)
    for entry in entries:
        same[entry.key].append(entry)
    cases: list[Case] = []
    splits_given = any(entry.split for entry in entries)
    for key, group in same.items():
        name = pseudonym(secret, "case", site.name, group[0].patient, key)
        try:
            cases.append(_case(name, group, site, study, secret, splits_given))
        except DataError as error:
            findings.append(Finding.from_error(error, name))
            continue
        if len(group) > 1:
            what = f"the image is listed {len(group)} times; it is used once."
            findings.append(Finding("CASE-DUP", name, what, "Remove the copies from the index.", "warning"))
    if study.task.kind == "classification":
        findings += missing_classes({case.label for case in cases if isinstance(case.label, int)}, study)
    if len({case.patient for case in cases}) == 1:
        what = "the site has one patient, who trains: nothing is left to validate or test with."
        findings.append(Finding("SITE-ONE-PATIENT", "", what, "Add patients.", "warning"))
    return Cohort(
        tuple(sorted(cases, key=lambda case: case.order)),  # not by pseudonym: a site's secret must not change a result
        tuple(sorted(findings, key=lambda finding: (finding.code, finding.case))),
        listing.patient_ids,
    )


def _case(name: str, group: Sequence[Entry], site: Site, study: Study, secret: bytes, splits_given: bool) -> Case:
    first = group[0]
    if any((e.label, e.patient, e.split) != (first.label, first.patient, first.split) for e in group if _usable(e)):
        raise DataError(
            "CASE-CONFLICT", "the image is listed twice with different labels, patients or splits.", "Keep one row."
        )
    if isinstance(first.image, DataError):
        raise first.image
    if isinstance(first.label, DataError):
        raise first.label
    if not first.patient:
        raise DataError("ID-MISSING", "the image names no patient.", "Fill in a pseudonymous id for each patient.")
    return Case(
        name=name,
        patient=patient_pseudonym(secret, site.name, first.patient),
        order=split_order(study.seed, site.name, first.patient),
        image=first.image,
        label=_label(first.label, site, study),
        split=_split(first.split, splits_given),
    )


def _usable(entry: Entry) -> bool:
    return not isinstance(entry.image, DataError) and not isinstance(entry.label, DataError)


def _label(label: Source | str, site: Site, study: Study) -> Source | int:
    return label if isinstance(label, Source) else class_index(label, study.task.classes, site.classes)


def _split(text: str, given: bool) -> Split:
    name = _SPLITS.get(text.strip().casefold())
    if name is None or (given and not name):
        what = "the column 'split' is empty in this row, or holds something else than train, validation or test."
        raise DataError("SPLIT-VALUE", what, "Fill it in, or remove the column to let medfl split by patient.")
    return name  # type: ignore[return-value]
