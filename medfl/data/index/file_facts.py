"""What is known of one file: whether it is DICOM, who and what it shows, and which images a label was drawn on."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from medfl.data.dicom.fast_header import Value
from medfl.data.dicom.headers import IDENTITY_KEYWORDS, KEYWORDS, Header, probe_file
from medfl.data.dicom.references import LABEL_MODALITIES, LabelReferences, read_references
from medfl.data.index.dicomdir import read_dicomdir
from medfl.data.index.walk import is_dicomdir
from medfl.errors import DataError

OTHER_KEYWORDS = tuple(keyword for keyword in KEYWORDS if keyword not in IDENTITY_KEYWORDS)
# ends of names of what is never DICOM: these files are not opened
NON_DICOM_SUFFIXES = (
    *(".nii", ".gz", ".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".npy", ".mat", ".mgz", ".nrrd", ".mha"),
    *(".csv", ".tsv", ".json", ".txt", ".toml", ".xml", ".html", ".pdf", ".xlsx", ".zip", ".md", ".py"),
)


@dataclass(frozen=True, slots=True)
class FileFacts:
    """What is known of one file. Local only.

    Parameters
    ----------
    kind : {"dicom", "headerless", "damaged", "other", "media", "unopened"}
        As `medfl.data.dicom.headers.examine` tells it; ``media`` is a DICOMDIR, and ``unopened`` could not be opened.
    identity : tuple of str
        The values of `medfl.data.dicom.headers.IDENTITY_KEYWORDS`; none for a file that is not DICOM.
    rest : str
        JSON list with the values of `REST`.
    refers : str
        JSON of what a label, or a DICOMDIR, refers to; else empty.
    """

    kind: str
    identity: tuple[str, ...] = ()
    rest: str = ""
    refers: str = ""


@dataclass(frozen=True, slots=True)
class IndexedFile:
    """One file that is DICOM, or may be. Local only.

    Parameters
    ----------
    path_text : str
        Where it is.
    facts : Row
        What is known of it.
    """

    path_text: str
    facts: FileFacts

    @property
    def path(self) -> Path:
        """Where it is."""
        return Path(self.path_text)

    def text(self, keyword: str) -> str:
        """Return a value of `medfl.data.dicom.headers.IDENTITY_KEYWORDS`, empty when it is missing."""
        return self.facts.identity[IDENTITY_KEYWORDS.index(keyword)] if self.facts.identity else ""

    @property
    def kind(self) -> str:
        """As `Row.kind`."""
        return self.facts.kind

    @property
    def modality(self) -> str:
        """In upper case."""
        return self.text("Modality").upper()

    @property
    def patient(self) -> str:
        """PatientID with its issuer, or empty when the file names no patient."""
        number = self.text("PatientID")
        return f"{number}|{self.text('IssuerOfPatientID')}" if number else ""

    @property
    def references(self) -> LabelReferences | None:
        """What a DICOM-SEG or RTSTRUCT was drawn on."""
        if not self.facts.refers or self.kind == "media":
            return None
        modality, images, frame = json.loads(self.facts.refers)
        return LabelReferences(self.path, modality, frozenset(images), frame)

    @property
    def dicomdir_entries(self) -> list[tuple[str, str]]:
        """Files that a DICOMDIR names, relative to it, with their SeriesInstanceUID."""
        return [(name, series) for name, series in json.loads(self.facts.refers)] if self.kind == "media" else []

    @property
    def header(self) -> Header:
        """All attributes that the index keeps."""
        values: dict[str, Value] = dict(zip(IDENTITY_KEYWORDS, self.facts.identity, strict=False))
        for keyword, value in zip(OTHER_KEYWORDS, json.loads(self.facts.rest or "[]"), strict=False):
            values[keyword] = tuple(value) if isinstance(value, list) else value
        return Header(self.path, {keyword: value for keyword, value in values.items() if value})


def may_be_dicom(path: str) -> bool:
    """Return whether a file has to be opened to know what it is."""
    return not path.lower().endswith(NON_DICOM_SUFFIXES)


def probe_facts(path: str) -> FileFacts:
    """Open a file and find out what it is. Nothing is raised: the files of a hospital may be anything."""
    try:
        if is_dicomdir(path):
            return FileFacts("media", refers=json.dumps(read_dicomdir(path)))
        seen = probe_file(Path(path))
    except OSError:
        return FileFacts("unopened")
    except DataError:  # a DICOMDIR that cannot be read
        return FileFacts("damaged")
    if seen.kind == "other":
        return FileFacts("other")
    known = Header(Path(path), seen.values)
    identity = tuple(known.text(keyword) for keyword in IDENTITY_KEYWORDS)
    kind, refers = str(seen.kind), ""
    if kind != "damaged" and known.text("Modality").upper() in LABEL_MODALITIES:
        try:
            drawn = read_references(Path(path), force=kind == "headerless")
            refers = json.dumps([drawn.modality, sorted(drawn.images), drawn.frame_of_reference])
        except DataError:
            kind = "damaged"
    return FileFacts(kind, identity, json.dumps([seen.values.get(keyword, "") for keyword in OTHER_KEYWORDS]), refers)


def to_json(row: FileFacts) -> list[object]:
    """Return a row as JSON can hold it."""
    return [row.kind, row.identity, row.rest, row.refers]


def from_json(plain: Sequence[object]) -> FileFacts:
    """Return the row that `to_json` told."""
    kind, identity, rest, refers = plain
    assert isinstance(identity, list)
    return FileFacts(str(kind), tuple(identity), str(rest), str(refers))
