"""What is wanted from a PACS, and which of the series that it offers are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path

from medfl.data.pacs.pacs_errors import pacs_error
from medfl.site.pacs import PacsQuery

LABEL_MODALITIES = ("SEG", "RTSTRUCT")  # drawn on images: they come with the studies of these


@dataclass(frozen=True)
class SeriesInfo:
    """A series as the PACS describes it. Local only, and nothing that identifies is in its repr.

    Parameters
    ----------
    study, series : str
        StudyInstanceUID and SeriesInstanceUID.
    modality : str
        CT, MR, SEG, ...
    expected : int
        NumberOfSeriesRelatedInstances, 0 when the PACS does not say.
    date, patient, accession, description : str
        StudyDate, PatientID, AccessionNumber and SeriesDescription, empty when the PACS does not say.
    """

    study: str = field(repr=False)
    series: str = field(repr=False)
    modality: str
    expected: int
    date: str = field(default="", repr=False)
    patient: str = field(default="", repr=False)
    accession: str = field(default="", repr=False)
    description: str = field(default="", repr=False)


@dataclass(frozen=True)
class SeriesQuery:
    """The query of a site, with its lists read.

    Parameters
    ----------
    query : PacsQuery
        As in the site.toml.
    patients, accessions : tuple of str
        The numbers of the lists, at most one of them not empty.
    """

    query: PacsQuery
    patients: tuple[str, ...] = field(default=(), repr=False)
    accessions: tuple[str, ...] = field(default=(), repr=False)

    @property
    def modalities(self) -> tuple[str, ...]:
        """All modalities wanted, in upper case, each once."""
        return tuple(dict.fromkeys(modality.upper() for modality in self.query.modalities))

    @property
    def study_modalities(self) -> tuple[str, ...]:
        """The modalities that studies are looked for with: those of images, unless only labels are wanted."""
        return tuple(m for m in self.modalities if m not in LABEL_MODALITIES) or self.modalities

    def study_filters(self) -> Iterator[dict[str, str]]:
        """Yield what one question to the PACS after the other asks of a study, by DICOM keyword."""
        dates = {"StudyDate": self.query.study_dates} if self.query.study_dates else {}
        if not (self.patients or self.accessions):
            yield dates
        for patient in self.patients:
            yield {**dates, "PatientID": patient}
        for accession in self.accessions:
            yield {**dates, "AccessionNumber": accession}

    def select(self, offered: Iterable[SeriesInfo]) -> list[SeriesInfo]:
        """Return the series that are wanted, each once, in an order that is the same every time.

        A PACS may ignore a filter that it does not know and offer more than was asked for, so everything is checked again.
        """
        unique = {found.series: found for found in offered if self._matches_study(found)}
        images = [f for f in unique.values() if f.modality in self.study_modalities and self._matches_description(f)]
        studies = {found.study for found in images}
        labels = [f for f in unique.values() if f.modality not in self.study_modalities and f.study in studies]
        return sorted([*images, *labels], key=lambda found: (found.study, found.series))

    def _matches_study(self, found: SeriesInfo) -> bool:
        begin, dash, end = self.query.study_dates.partition("-")
        after = found.date >= begin
        before = found.date <= end if end else bool(dash) or not begin or found.date == begin
        in_time = not found.date or (after and before)
        patient = not self.patients or not found.patient or found.patient in self.patients
        accession = not self.accessions or not found.accession or found.accession in self.accessions
        return in_time and patient and accession and found.modality in self.modalities

    def _matches_description(self, found: SeriesInfo) -> bool:
        text = found.description.lower()
        return not self.query.descriptions or any(fnmatch(text, pattern.lower()) for pattern in self.query.descriptions)


def read_query(query: PacsQuery, folder: Path) -> SeriesQuery:
    """Read the lists that a query names.

    Parameters
    ----------
    query : PacsQuery
        As in the site.toml.
    folder : Path
        What the files are relative to.

    Raises
    ------
    DataError
        ``PACS-LIST`` when a list cannot be read, is empty, or has a wildcard in it, which would ask for strangers.
    """
    patients = _read_list(folder / query.patients, "patients") if query.patients else ()
    accessions = _read_list(folder / query.accessions, "accession numbers") if query.accessions else ()
    return SeriesQuery(query, patients, accessions)


def _read_list(path: Path, what: str) -> tuple[str, ...]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError):
        raise pacs_error("PACS-LIST", f"the list of {what} cannot be read") from None
    numbers = tuple(dict.fromkeys(line.strip() for line in text.splitlines() if line.strip()))
    if not numbers:
        raise pacs_error("PACS-LIST", f"the list of {what} is empty")
    if wild := sum(any(sign in number for sign in "*?\\") for number in numbers):
        raise pacs_error("PACS-LIST", f"{wild} of the {len(numbers)} {what} hold a wildcard (* or ?) or a backslash")
    return numbers
