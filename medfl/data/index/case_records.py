"""Which files are behind a pseudonym: kept in the site's own index, for `medfl data whois` on the site's machine alone."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from medfl.data.cases import Finding
from medfl.data.index.database import IndexDatabase
from medfl.data.store.cache_key import site_root
from medfl.site import Site

USABLE = "usable"


@dataclass(frozen=True)
class CaseRecord:
    """What is behind the pseudonym of a case. It identifies a patient: local only.

    Parameters
    ----------
    study : str
        Name of the study that the case was found for last.
    case, patient : str
        Pseudonyms; the patient's is empty when the data names none.
    original : str
        Id of the patient in the data.
    image : tuple of str
        Files, relative to the data folder.
    label : tuple of str
        Files of the mask; several when it is not clear which is meant.
    text : str
        The class, in classification.
    annotated : tuple of str
        Classes that were looked for, where the index says it.
    split : str
        As the index has it.
    status : str
        ``"usable"``, or the code of why it was left out when the data folder was listed.
    read : str
        The same of the last time that its pixels were read; empty when they were not.
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


def save_cases(database: IndexDatabase, study: str, records: Sequence[CaseRecord]) -> None:
    """Keep what a study found, in the place of what it found before; nothing is written when that is the same."""
    told = [json.dumps(vars(record)) for record in records]
    digest = hashlib.sha256("\n".join(told).encode()).hexdigest()
    if database.read("SELECT digest FROM studies WHERE name = ?", (study,)) == [(digest,)]:
        return
    rows = [(study, record.case, record.patient, text) for record, text in zip(records, told, strict=True)]
    database.write(
        [
            ("DELETE FROM cases WHERE study = ?", [(study,)]),
            ("INSERT INTO cases VALUES (?, ?, ?, ?)", rows),
            ("INSERT OR REPLACE INTO studies VALUES (?, ?)", [(study, digest)]),
        ]
    )


def add_cases(database: IndexDatabase, study: str, records: Sequence[CaseRecord]) -> None:
    """Keep more cases of a study beside those that are remembered."""
    rows = [(study, record.case, record.patient, json.dumps(vars(record))) for record in records]
    if rows:
        forget = ("DELETE FROM cases WHERE study = ? AND name = ?", [(study, record.case) for record in records])
        database.write([forget, ("INSERT INTO cases VALUES (?, ?, ?, ?)", rows)])


def save_reading_results(site: Site, study: str, found: Mapping[str, str]) -> None:
    """Keep what reading the pixels of cases has shown; it stays until the data folder lists other cases.

    Parameters
    ----------
    site : Site
        Whose index it is.
    study : str
        Name of the study.
    found : mapping of str to str
        Code of why a case was left out, or `USABLE`, by the pseudonym of the case.
    """
    database = IndexDatabase(site_root(site), site.root)
    try:
        rows = database.read("SELECT name, told FROM cases WHERE study = ?", (study,))
        told = [(name, json.loads(text)) for name, text in rows]
        changed = [
            (json.dumps(values | {"read": found[name]}), study, name)
            for name, values in told
            if name in found and values.get("read", "") != found[name]
        ]
        database.write([("UPDATE cases SET told = ? WHERE study = ? AND name = ?", changed)] if changed else [])
    finally:
        database.close()


def reading_results(names: Iterable[str], findings: Iterable[Finding]) -> dict[str, str]:
    """Return, for each case that was read, the code of its first error, or `USABLE`."""
    errors = [(finding.case, finding.code) for finding in findings if finding.level == "error"]
    first = dict(reversed(errors))
    return {name: first.get(name, USABLE) for name in names}


def find_cases(database: IndexDatabase, pseudonym: str) -> list[CaseRecord]:
    """Return what is behind the pseudonym of a case or patient, in whatever studies it was found."""
    query = "SELECT told FROM cases WHERE name = ?1 OR patient = ?1 ORDER BY study, name"
    return [_parse_record(json.loads(text)) for (text,) in database.read(query, (pseudonym,))]


def _parse_record(values: dict[str, object]) -> CaseRecord:
    plain = {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
    return CaseRecord(**plain)  # type: ignore[arg-type]
