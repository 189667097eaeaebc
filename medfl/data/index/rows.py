"""What is known of one file: whether it is DICOM, who and what it shows, and which images a label was drawn on."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from medfl.data.dicom.headers import IDENTITY, KEYWORDS, Header, examine
from medfl.data.dicom.references import LABELS, Drawn, read_drawn
from medfl.data.dicom.scanning import Value
from medfl.data.index.media import read_media
from medfl.data.index.walk import is_media
from medfl.errors import DataError

REST = tuple(keyword for keyword in KEYWORDS if keyword not in IDENTITY)
# ends of names of what is never DICOM: these files are not opened
NO_DICOM = (
    *(".nii", ".gz", ".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".npy", ".mat", ".mgz", ".nrrd", ".mha"),
    *(".csv", ".tsv", ".json", ".txt", ".toml", ".xml", ".html", ".pdf", ".xlsx", ".zip", ".md", ".py"),
)


@dataclass(frozen=True, slots=True)
class Row:
    """What is known of one file. Local only.

    Parameters
    ----------
    kind : {"dicom", "headerless", "damaged", "other", "media", "unopened"}
        As `medfl.data.dicom.headers.examine` tells it; ``media`` is a DICOMDIR, and ``unopened`` could not be opened.
    identity : tuple of str
        The values of `medfl.data.dicom.headers.IDENTITY`; none for a file that is not DICOM.
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
class Item:
    """One file that is DICOM, or may be. Local only.

    Parameters
    ----------
    place : str
        Where it is.
    row : Row
        What is known of it.
    """

    place: str
    row: Row

    @property
    def path(self) -> Path:
        """Where it is."""
        return Path(self.place)

    def text(self, keyword: str) -> str:
        """Return a value of `medfl.data.dicom.headers.IDENTITY`, empty when it is missing."""
        return self.row.identity[IDENTITY.index(keyword)] if self.row.identity else ""

    @property
    def kind(self) -> str:
        """As `Row.kind`."""
        return self.row.kind

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
    def drawn(self) -> Drawn | None:
        """What a DICOM-SEG or RTSTRUCT was drawn on."""
        if not self.row.refers or self.kind == "media":
            return None
        modality, images, frame = json.loads(self.row.refers)
        return Drawn(self.path, modality, frozenset(images), frame)

    @property
    def contents(self) -> list[tuple[str, str]]:
        """Files that a DICOMDIR names, relative to it, with their SeriesInstanceUID."""
        return [(name, series) for name, series in json.loads(self.row.refers)] if self.kind == "media" else []

    @property
    def header(self) -> Header:
        """All attributes that the index keeps."""
        values: dict[str, Value] = dict(zip(IDENTITY, self.row.identity, strict=False))
        for keyword, value in zip(REST, json.loads(self.row.rest or "[]"), strict=False):
            values[keyword] = tuple(value) if isinstance(value, list) else value
        return Header(self.path, {keyword: value for keyword, value in values.items() if value})


def may_be_dicom(path: str) -> bool:
    """Return whether a file has to be opened to know what it is."""
    return not path.lower().endswith(NO_DICOM)


def read_row(path: str) -> Row:
    """Open a file and find out what it is. Nothing is raised: the files of a hospital may be anything."""
    try:
        if is_media(path):
            return Row("media", refers=json.dumps(read_media(path)))
        seen = examine(Path(path))
    except OSError:
        return Row("unopened")
    except DataError:  # a DICOMDIR that can not be read
        return Row("damaged")
    if seen.kind == "other":
        return Row("other")
    known = Header(Path(path), seen.values)
    identity = tuple(known.text(keyword) for keyword in IDENTITY)
    kind, refers = str(seen.kind), ""
    if kind != "damaged" and known.text("Modality").upper() in LABELS:
        try:
            drawn = read_drawn(Path(path), force=kind == "headerless")
            refers = json.dumps([drawn.modality, sorted(drawn.images), drawn.frame_of_reference])
        except DataError:
            kind = "damaged"
    return Row(kind, identity, json.dumps([seen.values.get(keyword, "") for keyword in REST]), refers)


def to_plain(row: Row) -> list[object]:
    """Return a row as JSON can hold it."""
    return [row.kind, row.identity, row.rest, row.refers]


def from_plain(plain: Sequence[object]) -> Row:
    """Return the row that `to_plain` told."""
    kind, identity, rest, refers = plain
    assert isinstance(identity, list)
    return Row(str(kind), tuple(identity), str(rest), str(refers))
