"""Patients of a data folder: one id a person, whatever the layout, the index and the DICOM headers call them."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace

from medfl.data.cases import Source
from medfl.data.findings import Finding
from medfl.data.index.file_facts import IndexedFile
from medfl.data.layouts.entries import Entry, Listing
from medfl.data.patient_ids import split_issuer

_MIN_CONSTANT_STUDIES = 3  # studies that all carry one PatientID: it was set by an anonymiser
_MIN_SHARED_STUDIES = 10  # likewise, when it is on more than half of the studies
# what programs and people write where they know no id, or must not tell it
_PLACEHOLDER = re.compile(
    r"\W*|nan|none|null|nil|na|#?n[./ ]a\.?|#n/?[av]|not (available|applicable|known)|no[ _-]?(id|name)|x{3,}|"
    r"anon(ym(e|ous|i[sz]ed|isiert|is[ée]e?)?)?|"
    r"de-?identified|unknown|unbekannt|inconnu|desconocid[oa]|sconosciut[oa]|undefined|missing|removed|redacted|unnamed",
    re.IGNORECASE,
)


def is_placeholder(patient: str) -> bool:
    """Return whether an id names nobody: strangers who share it are not one patient.

    Parameters
    ----------
    patient : str
        Id of an index, name of a folder, or PatientID with its issuer.

    Examples
    --------
    >>> is_placeholder("Anonymous"), is_placeholder("NaN"), is_placeholder("anna")
    (True, True, False)
    """
    return _PLACEHOLDER.fullmatch(split_issuer(patient)[0].strip()) is not None


def find_constant_ids(studies: Mapping[str, set[str]]) -> set[str]:
    """Return the ids that so many studies carry that an anonymiser must have set them.

    Parameters
    ----------
    studies : mapping of str to set of str
        StudyInstanceUIDs of each PatientID.
    """
    total = len(set[str]().union(*studies.values()))
    return {
        patient
        for patient, theirs in studies.items()
        if (len(theirs) >= _MIN_CONSTANT_STUDIES and len(theirs) == total)
        or (len(theirs) >= _MIN_SHARED_STUDIES and len(theirs) > total / 2)
    }


def unite_patients(listing: Listing) -> Listing:
    """Return a listing in which everything that belongs to one person has one patient id.

    Images that share the id of the layout, or the PatientID of their DICOM headers, are of one person: otherwise somebody
    could train and test. The id of the headers stands for all. Placeholders such as ``nan`` count as no id, and a
    PatientID that an anonymiser gave to everybody says nothing.

    Parameters
    ----------
    listing : Listing
        What the layout found.

    Returns
    -------
    Listing
        With warnings ``ID-HEADER`` and ``ID-CONSTANT``.
    """
    studies = _studies_of_ids(listing.entries)
    constant = find_constant_ids(studies)
    named = [_ids(entry, listing, constant) for entry in listing.entries]
    persons = _find_persons([*named, *_with_and_without_issuer(studies.keys() - constant)])
    entries = [
        replace(entry, patient=persons[ids[0]].name if ids else "") for entry, ids in zip(listing.entries, named, strict=True)
    ]
    doubtful = [person for person in set(persons.values()) if len(person.layout) > 1 or len(person.headers) > 1]
    warnings = [*_contradictions(doubtful), *_constant_warnings(constant, persons.values())]
    return replace(listing, entries=tuple(entries), warnings=(*listing.warnings, *warnings))


Id = tuple[str, str]  # where an id stands, "layout" or "header", and the id


@dataclass(frozen=True)
class _Person:
    """Ids that belong together, directly or through others, in alphabetical order."""

    layout: tuple[str, ...]
    headers: tuple[str, ...]

    @property
    def name(self) -> str:
        """Id that stands for all: that of the headers if they say one.

        So the same patients have the same ids, and are dealt to the same splits, in every layout.
        """
        return (self.headers or self.layout)[0]


def _ids(entry: Entry, listing: Listing, constant: Set[str]) -> list[Id]:
    own = entry.patient and not (listing.patient_ids and is_placeholder(entry.patient))
    return [*([("layout", entry.patient)] if own else []), *(("header", one) for one in sorted(_header_ids(entry) - constant))]


def _named_files(entry: Entry) -> Iterator[IndexedFile]:
    """Yield the files of an image whose headers name a patient; none for other files than DICOM."""
    for file in entry.image.files if isinstance(entry.image, Source) else ():
        if file.patient and not is_placeholder(file.patient):
            yield file


def _with_and_without_issuer(ids: Set[str]) -> Iterator[list[Id]]:
    """Yield PatientIDs that differ only in that one names its issuer and the other none: one person, as far as is known."""
    for one in sorted(ids):
        number, issuer = split_issuer(one)
        if issuer and number in ids:
            yield [("header", number), ("header", one)]


def _header_ids(entry: Entry) -> set[str]:
    return {file.patient for file in _named_files(entry)}


def _studies_of_ids(entries: Iterable[Entry]) -> dict[str, set[str]]:
    studies: dict[str, set[str]] = defaultdict(set)
    for entry in entries:
        for file in _named_files(entry):
            studies[file.patient].add(file.text("StudyInstanceUID"))
    return studies


def _find_persons(named: Iterable[Sequence[Id]]) -> dict[Id, _Person]:
    """Return the person behind each id, where ids that are named together are one person's."""
    parents: dict[Id, Id] = {}

    def root(one: Id) -> Id:
        parents.setdefault(one, one)
        while parents[one] != one:
            parents[one] = parents[parents[one]]
            one = parents[one]
        return one

    for ids in named:
        for one in ids:
            parents[root(one)] = root(ids[0])
    members: dict[Id, list[Id]] = defaultdict(list)
    for one in sorted(parents):
        members[root(one)].append(one)
    persons: dict[Id, _Person] = {}
    for ids in members.values():
        layout, headers = (tuple(text for kind, text in ids if kind == wanted) for wanted in ("layout", "header"))
        persons |= dict.fromkeys(ids, _Person(layout, headers))
    return persons


def _contradictions(doubtful: Sequence[_Person]) -> list[Finding]:
    if not doubtful:
        return []
    layout, headers = (sum(len(getattr(person, kind)) for person in doubtful) for kind in ("layout", "headers"))
    what = (
        f"{layout} patient(s) by index or folder are {headers} by the PatientID of their DICOM headers; "
        f"what shares either id counts as one patient, {len(doubtful)} in all."
    )
    return [Finding.warning("ID-HEADER", what, "Correct the index or the folders if it is wrong about who is who.")]


def _constant_warnings(constant: Set[str], persons: Collection[_Person]) -> list[Finding]:
    count = len({person for person in persons if person.layout})
    if not constant or count < 2:
        return []
    what = (
        f"most studies share one PatientID in their headers, which is not used: by index or folder they are {count} patients."
    )
    return [Finding.warning("ID-CONSTANT", what, "If they are of one person, say so in the column 'patient' of an index.")]
