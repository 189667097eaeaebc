"""Patients of a data folder: one id a person, whatever the layout, the index and the DICOM headers call them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace

from medfl.data.cases import Source
from medfl.data.findings import Finding
from medfl.data.index.file_facts import IndexedFile
from medfl.data.layouts.anonymous_ids import find_constant_ids, frequent_id_warnings, is_placeholder
from medfl.data.layouts.entries import Entry, Listing
from medfl.data.layouts.id_spellings import similar_id_warnings
from medfl.data.layouts.visits import group_visits
from medfl.data.patient_ids import split_issuer
from medfl.data.split_names import UNLABELLED, parse_split_name

Id = tuple[str, str]  # where an id stands, "layout" or "header", and the id
_KINDS = ("layout", "header")
_IN_INDEX = "in the column 'patient' of an index (of images, or of cases beside dataset.json)"


def unite_patients(listing: Listing) -> Listing:
    """Return a listing in which everything that belongs to one person has one patient id.

    Images that share the id of the layout, or the PatientID of their DICOM headers, are of one person: otherwise somebody
    could train and test. So are those whose names of folders, cases or files differ in a visit only, unless the index puts them
    into different splits; ids that a table or a header gives to patients are told and not joined. The id of the headers stands
    for all. Placeholders such as ``nan`` count as no id, and a PatientID that an anonymiser gave to everybody says nothing.

    Parameters
    ----------
    listing : Listing
        What the layout found.

    Returns
    -------
    Listing
        With warnings ``ID-HEADER``, ``ID-CONSTANT``, ``ID-VISIT`` and ``ID-SPELLING``.
    """
    studies, layout_ids = _exams_of_headers(listing)
    constant = find_constant_ids(studies) & find_constant_ids(layout_ids)
    agreed = {one for one, own in layout_ids.items() if len(own) == 1}  # an index or a folder says so, too
    named = [_ids(entry, listing, constant) for entry in listing.entries]
    stated = [*named, *_with_and_without_issuer(studies.keys() - constant)]
    visits, doubtful = _group_visits({one for ids in named for one in ids}, listing)
    told, persons = _find_persons(stated), _find_persons([*stated, *visits])
    entries = [
        replace(entry, patient=persons[ids[0]].name if ids else "") for entry, ids in zip(listing.entries, named, strict=True)
    ]
    warnings = [
        *_contradictions(set(told.values())),
        *_constant_warnings(constant, told.values()),
        *frequent_id_warnings(studies, agreed | constant),
        *_visit_warnings(visits, told),
        *_doubtful_visit_warnings(doubtful, persons),
        *_spelling_warnings(set(persons.values()), listing.patient_ids),
    ]
    return replace(listing, entries=tuple(entries), warnings=(*listing.warnings, *warnings))


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
    own = _own_id(entry, listing)
    return [*([("layout", own)] if own else []), *(("header", one) for one in sorted(_header_ids(entry) - constant))]


def _own_id(entry: Entry, listing: Listing) -> str:
    """Return what the layout calls the patient of an image; nothing where that is a placeholder."""
    return "" if listing.patient_ids and is_placeholder(entry.patient) else entry.patient


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


def _exams_of_headers(listing: Listing) -> tuple[dict[str, set[str]], dict[str, set[str]]]:
    """Return the examinations of each PatientID, by their StudyInstanceUIDs and by what the layout calls their patients."""
    studies: dict[str, set[str]] = defaultdict(set)
    layout_ids: dict[str, set[str]] = defaultdict(set)
    for entry in listing.entries:
        for file in _named_files(entry):
            studies[file.patient].add(file.text("StudyInstanceUID") or entry.key)
            layout_ids[file.patient].add(_own_id(entry, listing) or entry.key)
    return studies, layout_ids


def _group_visits(known: Iterable[Id], listing: Listing) -> tuple[list[list[Id]], list[list[Id]]]:
    """Return ids that are one person's by their spelling, and those that may be, or that somebody keeps apart."""
    certain: list[list[Id]] = []
    doubtful: list[list[Id]] = []
    splits: dict[str, set[str]] = defaultdict(set)
    for entry in listing.entries:
        splits[entry.patient].add(parse_split_name(entry.split) or UNLABELLED)
    names = listing.folder_ids if listing.patient_ids else splits.keys()  # others are ids that somebody gave to patients
    for kind in _KINDS:
        found, maybe = group_visits(one for origin, one in known if origin == kind)
        for group in found:
            apart = len(set().union(*(splits[one] for one in group)) - {UNLABELLED}) > 1
            joined = [] if kind != "layout" or apart else [one for one in group if one in names]
            if len(joined) > 1:
                certain.append([(kind, one) for one in joined])
            if len(joined) < len(group):
                doubtful.append([(kind, one) for one in group])
        doubtful += [[(kind, one) for one in group] for group in maybe]
    return certain, doubtful


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
        layout, headers = (tuple(text for kind, text in ids if kind == wanted) for wanted in _KINDS)
        persons |= dict.fromkeys(ids, _Person(layout, headers))
    return persons


def _contradictions(persons: Collection[_Person]) -> list[Finding]:
    doubtful = [person for person in persons if len(person.layout) > 1 or len(person.headers) > 1]
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
        "all or nearly all studies share one PatientID in their headers, which is not used: by index or folder they are "
        f"{count} patients."
    )
    fix = "If they are of one person, or of fewer, say so in the column 'patient' of an index."
    return [Finding.warning("ID-CONSTANT", what, fix)]


def _split_groups(groups: Iterable[Sequence[Id]], persons: Mapping[Id, _Person]) -> list[set[_Person]]:
    """Return, of groups of ids, the persons of those that are not one person's anyway."""
    found = [{persons[one] for one in group} for group in groups]
    return [owners for owners in found if len(owners) > 1]


def _visit_warnings(visits: Iterable[Sequence[Id]], stated: Mapping[Id, _Person]) -> list[Finding]:
    split = _split_groups(visits, stated)
    if not split:
        return []
    ids = len(set[_Person]().union(*split))
    what = (
        f"{ids} names of folders, cases or files differ from another only in what names a visit, as 'visit2'; "
        "those count as one patient."
    )
    fix = f"If they are different people, say so {_IN_INDEX}: ids there are never joined."
    return [Finding.warning("ID-VISIT", what, fix)]


def _doubtful_visit_warnings(doubtful: Iterable[Sequence[Id]], persons: Mapping[Id, _Person]) -> list[Finding]:
    split = _split_groups(doubtful, persons)
    if not split:
        return []
    ids = len(set[_Person]().union(*split))
    what = (
        f"{ids} ids of patients, folders or files differ from another only in a word, date, letter or number, and count as "
        f"{ids} patients: if they are visits, sides or slices, one person may both train and test."
    )
    fix = f"If so, say who is who {_IN_INDEX}."
    return [Finding.warning("ID-VISIT", what, fix)]


def _spelling_warnings(persons: Iterable[_Person], patient_ids: bool) -> list[Finding]:
    listed = list(persons)
    warnings = similar_id_warnings([person.layout for person in listed]) if patient_ids else []
    for warning in similar_id_warnings([person.headers for person in listed]):
        warnings += [warning] if warning not in warnings else []
    return warnings
