"""Values of tables that may be shown on a screen: names of kinds of things, and nothing that could point to a person."""

from __future__ import annotations

import re
from collections.abc import Iterable

from medfl.data.spelling import fold_name

# parts of names of columns that hold ids, people, dates, places of files, or prose
_PRIVATE_TEXT = """
id ids uid patientid subjectid participantid studyid seriesid caseid mrn pid accession number identifier barcode name
names surname forename firstname lastname nachname vorname nom prenom nombre apellido initials date dates day time
datetime timestamp datum fecha dob birth birthday birthdate geburtsdatum geburtstag year path paths file files
filename url uri link folder mail email phone telephone fax address street city town zip postcode plz ssn nhs
insurance comment comments note notes remark remarks text report reports description bemerkung kommentar contact
"""
_PEOPLE_TEXT = """
physician doctor arzt reader annotator annotators radiologist pathologist operator reviewer surgeon author observer rater
technician investigator referrer
"""
_PEOPLE = frozenset(_PEOPLE_TEXT.split())
_TITLES = frozenset(("dr", "prof", "mr", "mrs", "ms", "herr", "frau", "mme"))
_PRIVATE_WORDS = frozenset(_PRIVATE_TEXT.split()) | _PEOPLE
_BESIDE_PEOPLE = _PRIVATE_WORDS | frozenset(("label", "labels", "mask", "class", "score", "grade", "reading", "referring"))
_PRIVATE_ENDINGS = ("date", "datum", "uid", "name", "path", "physician", "arzt", "by")
_PRIVATE_PARTS = re.compile(
    "arzt|ärzt|aerzt|befund(?!(e|ung)?([^a-z]|$))|telefon|phone|weisend|zuweis|adress|strasse|straße|partner|request|referr|m[ée]decin",
    re.IGNORECASE,
)
_CODE = re.compile(r"[A-Z0-9]{1,4}")  # F, PA, T2; a word of more capitals may be a surname
_MAX_LENGTH, _MAX_WORDS = 40, 4
_PLAIN = re.compile(r"[\w+<>=-][\w .+<>=%|&()-]*")
_DIGITS = re.compile(r"\d{5}")  # a day, a number of a patient or of an examination
_DATE = re.compile(r"\d{1,4}[-./ ]\d{1,2}[-./ ]\d{1,4}|(19|20)\d\d([-./]\d{1,2})?|\d{1,2}[-./](19|20)\d\d")
_MONTH = re.compile(r"(?i)(?<![a-z])(jan|feb|mar|m[aä]r|apr|ma[iy]|jun|jul|aug|sep|o[ck]t|nov|de[cz])[a-z]*(?![a-z])")
_TITLE = re.compile(rf"(?i)\b({'|'.join(sorted(_TITLES))})\b\.? ")
_FILE = re.compile(r"[/\\]|\.(dcm|nii|gz|png|jpe?g|tiff?|bmp|mha|nrrd)$", re.IGNORECASE)
_NUMBER = re.compile(r"[-+]?\d+([.,]\d*)?")


def is_private_column(name: str) -> bool:
    """Return whether a column by its name holds ids, people, dates, places of files, or prose.

    Examples
    --------
    >>> is_private_column("StudyDate"), is_private_column("Befunder"), is_private_column("Befund"), is_private_column("covid")
    (True, True, False, False)
    """
    words = _split_words(name)
    folded = [*words, "".join(words)]
    listed = any(word in _PRIVATE_WORDS or word.endswith(_PRIVATE_ENDINGS) for word in folded)
    return listed or _PRIVATE_PARTS.search(name) is not None


def is_plain_value(text: str) -> bool:
    """Return whether a cell can be repeated: a few plain words, and no date, number of a person, path, or title of a person.

    Examples
    --------
    >>> is_plain_value("No Finding"), is_plain_value("COVID-19"), is_plain_value("DOE^JANE"), is_plain_value("3 Mar 1961")
    (True, True, False, False)
    """
    if len(text) > _MAX_LENGTH or len(text.split()) > _MAX_WORDS or not _PLAIN.fullmatch(text):
        return False
    if _DIGITS.search(text) or _DATE.fullmatch(text) or _TITLE.search(f"{text} "):
        return False
    return not (_MONTH.search(text) and any(sign.isdigit() for sign in text))


def is_impersonal_value(text: str) -> bool:
    """Return whether a plain value can hardly be a person's name, so that it may be repeated whatever its column is called.

    Numbers, words in small letters, and short codes; of a label that the site has named, any plain value is a class. In
    scripts without small letters, as Chinese and Arabic, nothing tells a name from another word.

    Examples
    --------
    >>> is_impersonal_value("benign"), is_impersonal_value("PA"), is_impersonal_value("Mueller"), is_impersonal_value("王伟")
    (True, True, False, False)
    """
    small = all(letter.islower() for letter in text if letter.isalpha())
    return is_plain_value(text) and (small or _CODE.fullmatch(text) is not None)


def names_person(name: str) -> bool:
    """Return whether the name of a column may be that of a person: a title, or a reader with another word than is usual.

    Examples
    --------
    >>> names_person("Reader Mueller"), names_person("Dr_Schmidt"), names_person("reader_id"), names_person("ReaderA")
    (True, True, False, False)
    """
    words = _split_words(name)
    others = [word for word in words if len(word) > 1 and word not in _BESIDE_PEOPLE]
    return (not _PEOPLE.isdisjoint(words) and bool(others)) or (len(words) > 1 and not _TITLES.isdisjoint(words))


def seems_data(name: str, cells: Iterable[str]) -> bool:
    """Return whether what stands above a column is no name, but a cell: a file, number or date, or numbered like those below.

    Examples
    --------
    >>> seems_data("P001", ["P002", "P003"]), seems_data("scan.png", []), seems_data("T2", ["1", "0"])
    (True, True, False)
    """
    if _FILE.search(name) or _NUMBER.fullmatch(name) or _DATE.fullmatch(name) or _DIGITS.search(name):
        return True
    return any(map(str.isdigit, name)) and any(_blur_digits(name) == _blur_digits(cell) for cell in cells)


def _blur_digits(text: str) -> str:
    return re.sub(r"\d+", "0", text)


def _split_words(name: str) -> list[str]:
    return [fold_name(word) for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[^\W\d_a-zA-Z]+", name)]
