"""Case: one image with its label, from the listing of a data folder to the batches of training.

Three more things stand for a case, each where this one cannot: `medfl.data.layouts.entries.Entry` before it has a pseudonym,
`medfl.data.index.case_records.CaseRecord` for whoever asks which files a pseudonym stands for, and
`medfl.data.quality.facts.CaseFacts` in reports, which may name no file. `medfl.data.store.prepared_data.PreparedCase` is the
case with its prepared arrays.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self

from medfl.data.file_account import FileAccount
from medfl.data.findings import Finding

if TYPE_CHECKING:
    from medfl.data.index.file_facts import IndexedFile

Split = Literal["", "train", "validation", "test"]


@dataclass(frozen=True)
class Source:
    """Files of one image or mask. Local only: they are never logged and never leave the site.

    Parameters
    ----------
    kind : {"nifti", "dicom", "image"}
        How to read it.
    paths : tuple of Path
        One file per channel; for DICOM the files of one series, or one DICOM-SEG or RTSTRUCT.
    select : tuple of str
        DICOM only: what to select of the files, one text a channel, such as ``"EchoTime=10"`` or
        ``"EchoTime=10; orientation=axial"``; empty when everything is one volume (see `medfl.data.dicom.select`).
    names : tuple of (int, str)
        Masks only: names of the values, where the data gives them; empty when they are the classes of the study in order.
    volumes : tuple of int
        A NIfTI file of several volumes only: those that are the channels of the study, in its order; empty: all as they are.
    volume_count : int
        Number of volumes that such a file holds; 0: as many as the study has channels.
    files : tuple of IndexedFile
        DICOM only: what the index knows of the files, so that their headers need not be read again; empty when it was not
        asked.
    """

    kind: Literal["nifti", "dicom", "image"]
    paths: tuple[Path, ...]
    select: tuple[str, ...] = ()
    names: tuple[tuple[int, str], ...] = ()
    volumes: tuple[int, ...] = ()
    volume_count: int = 0
    files: tuple[IndexedFile, ...] = field(default=(), compare=False, repr=False)

    @classmethod
    def of_files(cls, files: Sequence[IndexedFile], select: tuple[str, ...] = ()) -> Self:
        """Return the source of DICOM files that the index knows."""
        return cls("dicom", tuple(file.path for file in files), select, files=tuple(files))

    def without_headers(self) -> Self:
        """Return the source without what the index knows of its files, once they are read: it is much for a large site."""
        return replace(self, files=()) if self.files else self


@dataclass(frozen=True)
class Case:
    """One usable image with its label, if it has one. Its representation names no file.

    Parameters
    ----------
    name, patient : str
        Pseudonyms, ``case-XXXXXXXXXX`` and ``pat-XXXXXXXXXXXXXXXX``.
    split_order : str
        Hexadecimal digest that decides the split and nothing else.
    image : Source
        The image.
    label : Source, int or None
        The mask, or the index of the class; None: there is none, as of an image that is only predicted.
    split : str
        Given by the index of the data; empty when medfl is to split.
    annotated : tuple of str
        Foreground classes that somebody looked for in this case; empty when all were. Unknown is not background.
    """

    name: str
    patient: str
    split_order: str
    image: Source = field(repr=False)
    label: Source | int | None = field(repr=False)
    split: Split = ""
    annotated: tuple[str, ...] = ()

    @classmethod
    def without_files(cls, name: str, patient: str, split: Split = "") -> Self:
        """Return a case of which only the pseudonyms matter, as in counts and in tests of what is done with arrays."""
        return cls(name, patient, "", Source("image", ()), 0, split)

    def without_headers(self) -> Self:
        """Return the case without what the index knows of its files, once they are read."""
        label = self.label.without_headers() if isinstance(self.label, Source) else self.label
        return replace(self, image=self.image.without_headers(), label=label)


@dataclass(frozen=True)
class Cohort:
    """All cases of a site for a study.

    Parameters
    ----------
    cases : tuple of Case
        The usable ones, sorted by the keyed order of their patients, then as the data folder lists them.
    findings : tuple of Finding
        Reasons why cases were left out, and warnings, sorted by code and case.
    patient_ids : bool
        Whether the data names its patients; if not, one image counts as one patient.
    files : FileAccount, optional
        What becomes of each file of the data folder, where that was asked for.
    """

    cases: tuple[Case, ...]
    findings: tuple[Finding, ...]
    patient_ids: bool
    files: FileAccount | None = None
