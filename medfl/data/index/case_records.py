"""Records of the files behind pseudonyms, in the site's own index, for `medfl data whois` on the site's machine alone."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from medfl.data.findings import Finding
from medfl.data.index.database import IndexDatabase
from medfl.data.store.cache_key import site_root
from medfl.site import Site

USABLE = "usable"
ASSUMED_STUDY = ""  # name of the study that a check without one assumes, which no other can have


@dataclass(frozen=True)
class CaseRecord:
    """Files and patient behind the pseudonym of a case. It identifies a patient, so it never leaves the site.

    Parameters
    ----------
    study : str
        Name of the study.
    case, patient : str
        Pseudonyms; the patient's is empty when the data name no patient.
    original : str
        Patient id in the data.
    image : tuple of str
        Files, relative to the data folder.
    label : tuple of str
        Files of the mask; several when it is unclear which one belongs to the image.
    text : str
        Class of the case, in classification.
    annotated : tuple of str
        Classes that were annotated, where the CSV index says so.
    split : str
        Split in the CSV index.
    status : str
        ``"usable"``, or the code of the finding for which the case was left out when the data folder was listed.
    read : str
        The same for the last time that its pixels were read; empty when they were not.
    damaged : tuple of str
        Files for which the image was refused: damaged, or missing.
    copies : tuple of str
        Other cases that turned out to show the same image when they were read.
    """

    study: str
    case: str
    patient: str
    original: str
    image: tuple[str, ...] = ()
    label: tuple[str, ...] = ()
    text: str = ""
    annotated: tuple[str, ...] = ()
    split: str = ""
    status: str = USABLE
    read: str = ""
    damaged: tuple[str, ...] = ()
    copies: tuple[str, ...] = ()


def save_cases(database: IndexDatabase, study: str, records: Sequence[CaseRecord]) -> None:
    """Save the cases that a study found, instead of those that it found before; write nothing if nothing changed."""
    texts = [json.dumps(vars(record)) for record in records]
    digest = hashlib.sha256("\n".join(texts).encode()).hexdigest()
    if database.read("SELECT digest FROM studies WHERE name = ?", (study,)) == [(digest,)]:
        return
    rows = [(study, record.case, record.patient, text) for record, text in zip(records, texts, strict=True)]
    database.write(
        [
            ("DELETE FROM cases WHERE study = ?", [(study,)]),
            ("INSERT INTO cases VALUES (?, ?, ?, ?)", rows),
            ("INSERT OR REPLACE INTO studies VALUES (?, ?)", [(study, digest)]),
        ]
    )


def add_cases(database: IndexDatabase, study: str, records: Sequence[CaseRecord]) -> None:
    """Save more cases of a study, in addition to those saved before."""
    rows = [(study, record.case, record.patient, json.dumps(vars(record))) for record in records]
    if rows:
        delete = ("DELETE FROM cases WHERE study = ? AND name = ?", [(study, record.case) for record in records])
        database.write([delete, ("INSERT INTO cases VALUES (?, ?, ?, ?)", rows)])


def save_reading_results(site: Site, study: str, codes: Mapping[str, str], copies: Mapping[str, Sequence[str]]) -> None:
    """Save what reading the pixels of cases showed; it is kept until the data folder lists other cases.

    Parameters
    ----------
    site : Site
        Site of the index.
    study : str
        Name of the study.
    codes : mapping of str to str
        Code of the finding for which a case was left out, or `USABLE`, by the pseudonym of the case.
    copies : mapping of str to sequence of str
        Other cases with the same image, by the pseudonym of the case.
    """
    database = IndexDatabase(site_root(site), site.root)
    try:
        rows = database.read("SELECT name, record FROM cases WHERE study = ?", (study,))
        saved = [(name, json.loads(text)) for name, text in rows]
        now = {name: {"read": code, "copies": list(copies.get(name, ()))} for name, code in codes.items()}
        updated = [(name, values, values | now.get(name, {})) for name, values in saved]
        changed = [(json.dumps(after), study, name) for name, before, after in updated if after != before]
        database.write([("UPDATE cases SET record = ? WHERE study = ? AND name = ?", changed)] if changed else [])
    finally:
        database.close()


def reading_results(names: Iterable[str], findings: Iterable[Finding]) -> dict[str, str]:
    """Return, for each case that was read, the code of its first error, or `USABLE`."""
    errors = [(finding.case, finding.code) for finding in findings if finding.level == "error"]
    first = dict(reversed(errors))
    return {name: first.get(name, USABLE) for name in names}


def find_cases(database: IndexDatabase, pseudonym: str) -> list[CaseRecord]:
    """Return the records behind the pseudonym of a case or patient, in all studies."""
    query = "SELECT record FROM cases WHERE name = ?1 OR patient = ?1 ORDER BY study, name"
    return [_parse_record(json.loads(text)) for (text,) in database.read(query, (pseudonym,))]


def _parse_record(values: dict[str, object]) -> CaseRecord:
    fields = {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
    return CaseRecord(**fields)  # type: ignore[arg-type]
