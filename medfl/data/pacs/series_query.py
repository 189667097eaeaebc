"""Query of a site to its PACS, and the choice among the series that the PACS offers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path

from medfl.data.pacs.pacs_errors import pacs_error
from medfl.site.pacs import PacsQuery

LABEL_MODALITIES = ("SEG", "RTSTRUCT")  # drawn on images: fetched with the studies of those images


@dataclass(frozen=True)
class SeriesInfo:
    """Series as the PACS describes it. It never leaves the site; its repr shows nothing that identifies.

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
    """Query of a site, with its lists read.

    Parameters
    ----------
    query : PacsQuery
        Query as in site.toml.
    patients, accessions : tuple of str
        Contents of the lists; at most one of the two is not empty.
    """

    query: PacsQuery
    patients: tuple[str, ...] = field(default=(), repr=False)
    accessions: tuple[str, ...] = field(default=(), repr=False)

    @property
    def modalities(self) -> tuple[str, ...]:
        """Modalities asked for, in upper case, each once."""
        return tuple(dict.fromkeys(modality.upper() for modality in self.query.modalities))

    @property
    def study_modalities(self) -> tuple[str, ...]:
        """Modalities by which studies are searched: those of images, unless only labels are asked for."""
        return tuple(m for m in self.modalities if m not in LABEL_MODALITIES) or self.modalities

    def study_filters(self) -> Iterator[dict[str, str]]:
        """Yield the study-level filters of each request to the PACS, by DICOM keyword."""
        dates = {"StudyDate": self.query.study_dates} if self.query.study_dates else {}
        if not (self.patients or self.accessions):
            yield dates
        for patient in self.patients:
            yield {**dates, "PatientID": patient}
        for accession in self.accessions:
            yield {**dates, "AccessionNumber": accession}

    def select(self, offered: Iterable[SeriesInfo]) -> list[SeriesInfo]:
        """Return the series asked for, each once, always in the same order.

        A PACS may ignore a filter that it does not know and return more than was asked for, so everything is checked again.
        """
        unique = {series_info.series: series_info for series_info in offered if self._matches_study(series_info)}
        images = [s for s in unique.values() if s.modality in self.study_modalities and self._matches_description(s)]
        studies = {series_info.study for series_info in images}
        labels = [s for s in unique.values() if s.modality not in self.study_modalities and s.study in studies]
        return sorted([*images, *labels], key=lambda series_info: (series_info.study, series_info.series))

    def _matches_study(self, series_info: SeriesInfo) -> bool:
        begin, dash, end = self.query.study_dates.partition("-")
        date, patient, accession = series_info.date, series_info.patient, series_info.accession
        before_end = date <= end if end else bool(dash) or not begin or date == begin
        date_fits = not date or (date >= begin and before_end)
        patient_fits = not self.patients or not patient or patient in self.patients
        accession_fits = not self.accessions or not accession or accession in self.accessions
        return date_fits and patient_fits and accession_fits and series_info.modality in self.modalities

    def _matches_description(self, series_info: SeriesInfo) -> bool:
        text = series_info.description.lower()
        return not self.query.descriptions or any(fnmatch(text, pattern.lower()) for pattern in self.query.descriptions)


def read_query(query: PacsQuery, folder: Path) -> SeriesQuery:
    """Read the lists that a query names.

    Parameters
    ----------
    query : PacsQuery
        Query as in site.toml.
    folder : Path
        Folder that the paths of the files are relative to.

    Raises
    ------
    DataError
        ``PACS-LIST`` when a list cannot be read, is empty, or has a wildcard in it, which would match other patients.
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
    if n_wild := sum(any(sign in number for sign in "*?\\") for number in numbers):
        raise pacs_error("PACS-LIST", f"{n_wild} of the {len(numbers)} {what} contain a wildcard (* or ?) or a backslash")
    return numbers
