"""Facts about one file: whether it is DICOM, its patient and series, and the images that a label was drawn on."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from io import RawIOBase
from pathlib import Path

from medfl.data.dicom.fast_header import Value
from medfl.data.dicom.headers import Header, probe_open_file
from medfl.data.dicom.keywords import IDENTITY_KEYWORDS, KEYWORDS
from medfl.data.dicom.references import LABEL_MODALITIES, LabelReferences, read_references
from medfl.data.index.dicomdir import read_dicomdir
from medfl.data.index.walk import is_dicomdir, stat_file
from medfl.data.patient_ids import join_issuer
from medfl.errors import DataError

DICOM_KINDS = ("dicom", "headerless", "damaged", "media", "unopened", "outside", "special")  # DICOM, or nobody can know
OTHER_KEYWORDS = tuple(keyword for keyword in KEYWORDS if keyword not in IDENTITY_KEYWORDS)
# ends of names of files that are never DICOM: these are not opened
NON_DICOM_SUFFIXES = (
    *(".nii", ".gz", ".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".npy", ".mat", ".mgz", ".nrrd", ".mha"),
    *(".csv", ".tsv", ".json", ".txt", ".toml", ".xml", ".html", ".pdf", ".xlsx", ".zip", ".md", ".py"),
)
ARCHIVE_SUFFIXES = (".zip", ".tar", ".tgz", ".tbz", ".txz", ".7z", ".rar", ".gz", ".bz2", ".xz", ".zst", ".z")
_GZIPPED_FILES = (".nii.gz", ".img.gz", ".hdr.gz", ".tsv.gz", ".csv.gz", ".json.gz")  # that are no archives of images
_ARCHIVE_MAGIC = (
    *(b"PK\x03\x04", b"\x1f\x8b\x08", b"BZh", b"\xfd7zXZ\0"),
    *(b"7z\xbc\xaf\x27\x1c", b"Rar!\x1a\x07", b"\x28\xb5\x2f\xfd"),
)
_HEAD = 512  # bytes by which a file that is not DICOM is told


@dataclass(frozen=True, slots=True)
class FileFacts:
    """Known facts about one file. They never leave the site.

    Parameters
    ----------
    kind : {"dicom", "headerless", "damaged", "media", "unopened", "outside", "special", "empty", "archive", "other"}
        Kind as in `medfl.data.dicom.headers.probe_file`; ``media`` is a DICOMDIR, ``unopened`` could not be opened,
        ``outside`` is a link that leads out of the data folder, ``special`` a pipe, socket or device, and ``empty`` holds
        nothing or zeros.
    identity : tuple of str
        Values of `medfl.data.dicom.keywords.IDENTITY_KEYWORDS`; empty for a file that is not DICOM.
    other_values : str
        JSON list with the values of `OTHER_KEYWORDS`.
    links : str
        JSON of the images that a label references, or of the files that a DICOMDIR names; else empty.
    """

    kind: str
    identity: tuple[str, ...] = ()
    other_values: str = ""
    links: str = ""


@dataclass(frozen=True, slots=True)
class IndexedFile:
    """One file that is DICOM, or may be. It never leaves the site.

    Parameters
    ----------
    path_text : str
        Absolute path of the file.
    facts : FileFacts
        Known facts about it.
    stamp : tuple of int, optional
        Size and times of the file when these facts were read (`medfl.data.index.walk.FileStat.stamp`); None when it was too
        young to tell a later change by them.
    """

    path_text: str
    facts: FileFacts
    stamp: tuple[int, int, int] | None = None

    @property
    def path(self) -> Path:
        """Absolute path of the file."""
        return Path(self.path_text)

    def text(self, keyword: str) -> str:
        """Return a value of `medfl.data.dicom.keywords.IDENTITY_KEYWORDS`, empty when it is missing."""
        return self.facts.identity[IDENTITY_KEYWORDS.index(keyword)] if self.facts.identity else ""

    @property
    def kind(self) -> str:
        """Kind of the file, as in `FileFacts`."""
        return self.facts.kind

    @property
    def modality(self) -> str:
        """Modality, in upper case."""
        return self.text("Modality").upper()

    @property
    def patient(self) -> str:
        """PatientID with its issuer, or empty when the file names no patient."""
        return join_issuer(self.text("PatientID"), self.text("IssuerOfPatientID"))

    @property
    def references(self) -> LabelReferences | None:
        """Images that a SEG or RTSTRUCT was drawn on; None for other files."""
        if not self.facts.links or self.kind == "media":
            return None
        modality, images, frame_of_reference, *alternatives = json.loads(self.facts.links)
        sets = tuple(frozenset(images[n] for n in numbers) for numbers in alternatives)
        return LabelReferences(self.path, modality, frozenset(images), frame_of_reference, alternatives=sets)

    @property
    def dicomdir_entries(self) -> list[tuple[str, str]]:
        """Files that a DICOMDIR names, relative to it, with their SeriesInstanceUID."""
        return [(name, series) for name, series in json.loads(self.facts.links)] if self.kind == "media" else []

    def has_changed(self) -> bool:
        """Return whether the file is another one by now, as far as anybody can tell."""
        return self.stamp is None or stat_file(self.path).stamp != self.stamp

    @property
    def header(self) -> Header:
        """All attributes that the index holds."""
        values: dict[str, Value] = dict(zip(IDENTITY_KEYWORDS, self.facts.identity, strict=False))
        for keyword, value in zip(OTHER_KEYWORDS, json.loads(self.facts.other_values or "[]"), strict=False):
            values[keyword] = tuple(value) if isinstance(value, list) else value
        return Header(self.path, {keyword: value for keyword, value in values.items() if value})


def may_be_dicom(path: str) -> bool:
    """Return whether a file has to be opened to know if it is DICOM."""
    return not path.lower().endswith(NON_DICOM_SUFFIXES)


def is_archive(path: str) -> bool:
    """Return whether a file is an archive, or another compressed file than an image, by its name."""
    name = path.lower()
    return name.endswith(ARCHIVE_SUFFIXES) and not name.endswith(_GZIPPED_FILES)


def probe_facts(path: str) -> FileFacts:
    """Open a file and determine its facts. Nothing is raised: a hospital's files may be anything."""
    try:
        if is_dicomdir(path):
            return FileFacts("media", links=json.dumps(read_dicomdir(path)))
        with open(path, "rb", buffering=0) as file:
            return _probe_open_file(path, file)
    except OSError:
        return FileFacts("unopened")
    except DataError:  # a DICOMDIR that cannot be read
        return FileFacts("damaged")


def _probe_open_file(path: str, file: RawIOBase) -> FileFacts:
    probed = probe_open_file(file)
    if probed.kind == "other":
        return FileFacts(_tell_other(file))
    header = Header(Path(path), probed.values)
    identity = tuple(header.text(keyword) for keyword in IDENTITY_KEYWORDS)
    kind, links = str(probed.kind), ""
    if kind != "damaged" and header.text("Modality").upper() in LABEL_MODALITIES:
        try:
            references = read_references(Path(path), force=kind == "headerless", file=file)
            links = json.dumps(_list_references(references))
        except DataError:
            kind = "damaged"
    return FileFacts(kind, identity, json.dumps([probed.values.get(keyword, "") for keyword in OTHER_KEYWORDS]), links)


def _list_references(references: LabelReferences) -> list[object]:
    images = sorted(references.images)
    numbers = {uid: n for n, uid in enumerate(images)}
    alternatives = [sorted(numbers[uid] for uid in each) for each in references.alternatives]
    return [references.modality, images, references.frame_of_reference, *alternatives]


def _tell_other(file: RawIOBase) -> str:
    """Return the kind of a file that is not DICOM."""
    file.seek(0)
    head = file.read(_HEAD) or b""
    if not head.strip(b"\0"):
        return "empty"
    return "archive" if head.startswith(_ARCHIVE_MAGIC) or head[257:262] == b"ustar" else "other"


def to_json(facts: FileFacts) -> list[object]:
    """Return facts as JSON can hold them."""
    return [facts.kind, facts.identity, facts.other_values, facts.links]


def from_json(values: Sequence[object]) -> FileFacts:
    """Return the facts from the result of `to_json`."""
    kind, identity, other_values, links = values
    assert isinstance(identity, list)
    return FileFacts(str(kind), tuple(identity), str(other_values), str(links))
