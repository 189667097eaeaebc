"""Results of a check, as plain values without a path, patient id, UID or date, for the site's own eyes."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from medfl.data.cases import Case, Split
from medfl.data.file_account import FileAccount
from medfl.data.findings import Finding, Level
from medfl.data.layouts.table_description import TableDescription
from medfl.data.store.prepared_data import PreparedCase, PreparedData
from medfl.study.task import Task
from medfl.system.text import format_count, plural

PERCENTILES = (1, 25, 50, 75, 99)  # of the grey values of a case
_LOCAL_CODES = ("CLASS-FEW",)  # findings of a check alone: a server is not told which sites have a rare class


@dataclass(frozen=True)
class ImagingDevice:
    """Device that made an image, according to its DICOM header; empty where it does not say.

    Parameters
    ----------
    manufacturer, model : str
        Manufacturer and ManufacturerModelName.
    field_strength : float
        MagneticFieldStrength, tesla; 0 when unknown.
    """

    manufacturer: str = ""
    model: str = ""
    field_strength: float = 0.0

    def __str__(self) -> str:
        words = [self.manufacturer, self.model, f"{self.field_strength:g} T" if self.field_strength else ""]
        return ", ".join(word for word in words if word)


@dataclass(frozen=True, eq=False)
class PreviewPlane:
    """One slice as a small picture, turned as a person looks at it.

    Parameters
    ----------
    name : str
        ``"axial"``, ``"coronal"``, ``"sagittal"`` or ``"image"``.
    grey : ndarray of uint8
        (rows, columns); pixels are square.
    mask : ndarray of uint8
        The class of each pixel, of the same shape; all zero where nothing is marked.
    """

    name: str
    grey: NDArray[np.uint8]
    mask: NDArray[np.uint8]


@dataclass(frozen=True)
class CaseFacts:
    """Facts about one case for a report. It holds no path, and exists for cases, too, that never became a `Case`.

    Parameters
    ----------
    case, patient : str
        Pseudonyms; the patient's is empty where the case never got that far.
    split : str
        ``"train"``, ``"validation"``, ``"test"``, or empty for a case that is left out.
    findings : tuple of Finding
        What is wrong with it, and what to know about it.
    kind : str
        ``"dicom"``, ``"nifti"``, ``"image"``, or empty.
    size : tuple of int
        Voxels along each axis; empty when the image was not read.
    spacing : tuple of float
        Millimetres between voxels along each axis; empty when unknown, as for a 2-D image.
    intensity : tuple of float
        `PERCENTILES` of the grey values of the first channel.
    amounts : tuple of (int, float)
        Classes that occur, by index, and how much of each: millilitres of a volume, share of the pixels of a 2-D image, or
        1.0 for the class of the whole image.
    device : ImagingDevice
        What made the image.
    planes : tuple of PreviewPlane
        Pictures, where they were asked for.
    annotated : tuple of int
        Foreground classes that somebody looked for; empty when all were.
    prepared : tuple of int
        Voxels along each axis that preparing will leave it with; empty when that is not certain.
    content : tuple of str
        `medfl.data.same_content.checksum_content`; empty when the image was not read.
    """

    case: str
    patient: str = ""
    split: Split = ""
    findings: tuple[Finding, ...] = ()
    kind: str = ""
    size: tuple[int, ...] = ()
    spacing: tuple[float, ...] = ()
    intensity: tuple[float, ...] = ()
    amounts: tuple[tuple[int, float], ...] = ()
    device: ImagingDevice = ImagingDevice()
    planes: tuple[PreviewPlane, ...] = ()
    annotated: tuple[int, ...] = ()
    prepared: tuple[int, ...] = ()
    content: tuple[str, ...] = ()

    @property
    def usable(self) -> bool:
        """Whether the case can be used."""
        return not any(finding.level == "error" for finding in self.findings)


@dataclass(frozen=True)
class CodeCount:
    """One row of a summary: a code, its number of cases, 0 for the site as a whole, and the words of its first finding."""

    code: str
    level: Level
    count: int
    what: str
    fix: str


@dataclass(frozen=True)
class SiteCheck:
    """Result of a check of a site.

    Parameters
    ----------
    site : str
        Name of the site.
    study : str
        Name of the study; empty for a check without a study.
    task : Task, optional
        Task of the study, or the one that was assumed; None when not even that could be inferred.
    assumed : tuple of str
        What a check without a study assumed, in sentences.
    cases : tuple of CaseFacts
        The usable ones in the order of the cohort, then those left out.
    findings : tuple of Finding
        About the site as a whole.
    patient_ids : bool
        Whether the data names its patients; if not, one image counts as one patient.
    refusal : Finding, optional
        Why training would be declined by the site's policy.
    fast : bool
        Whether only headers were looked at.
    files : FileAccount, optional
        What becomes of each file of the data folder; None where it could not be listed.
    table : TableDescription, optional
        The index, or ``participants.tsv``; None where there is none.
    """

    site: str
    study: str
    task: Task | None
    assumed: tuple[str, ...]
    cases: tuple[CaseFacts, ...]
    findings: tuple[Finding, ...]
    patient_ids: bool
    refusal: Finding | None
    fast: bool
    files: FileAccount | None = None
    table: TableDescription | None = None

    @property
    def usable(self) -> tuple[CaseFacts, ...]:
        """The cases that can be used."""
        return tuple(case for case in self.cases if case.usable)

    @property
    def left_out(self) -> tuple[CaseFacts, ...]:
        """The cases that cannot."""
        return tuple(case for case in self.cases if not case.usable)

    @property
    def all_findings(self) -> tuple[Finding, ...]:
        """Findings about the site and about its cases, errors first, then by code and case."""
        found = [*self.findings, *(finding for case in self.cases for finding in case.findings)]
        return tuple(sorted(found, key=lambda finding: (finding.level != "error", finding.code, finding.case)))

    def count_exclusions(self) -> dict[str, int]:
        """Return how many cases each code left out, the most frequent first; a case counts once, by its first error."""
        first = [next(f.code for f in case.findings if f.level == "error") for case in self.left_out]
        return dict(sorted(Counter(first).items(), key=lambda pair: (-pair[1], pair[0])))

    def count_findings(self) -> tuple[CodeCount, ...]:
        """Return one row a code, and one for each finding about the site: errors first, the most frequent first."""
        groups: dict[tuple[str, Level, str], list[Finding]] = {}
        for finding in self.all_findings:
            groups.setdefault((finding.code, finding.level, "" if finding.case else finding.what), []).append(finding)
        rows = [
            CodeCount(code, level, len({finding.case for finding in g} - {""}), g[0].what, g[0].fix)
            for (code, level, _), g in groups.items()
        ]
        return tuple(sorted(rows, key=lambda row: (row.level != "error", -row.count, row.code)))

    def summary(self) -> str:
        """Return the sentence that a check ends with.

        Examples
        --------
        >>> SiteCheck("north", "", None, (), (), (), True, None, False).summary()
        '0 cases usable, 0 left out'
        """
        reasons = ", ".join(f"{count} {code}" for code, count in self.count_exclusions().items())
        because = f" ({reasons})" if reasons else ""
        summary = f"{plural(len(self.usable), 'case')} usable, {format_count(len(self.left_out))} left out{because}"
        return "; ".join(filter(None, [summary, self.readable_summary()]))

    def readable_summary(self) -> str:
        """Return how many images can be read, in a check without a study where nothing is labelled; nothing otherwise."""
        errors = [{f.code for f in case.findings if f.level == "error"} for case in self.cases if case.size]
        count = 0 if self.study or self.usable else sum(codes == {"LBL-MISSING"} for codes in errors)
        return f"{plural(count, 'image')} can be read" if count else ""

    def splits_summary(self) -> str:
        """Return how many cases and patients each split has; empty where there are none."""
        texts = []
        for split in get_args(Split):
            cases = [case for case in self.usable if case.split == split]
            people = plural(len({case.patient for case in cases}), "patient") if self.patient_ids and cases else ""
            if split and self.usable:
                texts.append(f"{split} {plural(len(cases), 'case')}" + (f" of {people}" if people else ""))
        return f"Splits: {', '.join(texts)}." if any(case.split for case in self.usable) else ""

    def to_prepared(self) -> PreparedData:
        """Return the usable cases in the form that the site's policy and the answer to a server are computed from."""
        none = np.zeros(0, dtype=np.uint8)
        cases = tuple(
            PreparedCase(Case.without_files(facts.case, facts.patient, facts.split), none, none, (), annotated=facts.annotated)
            for facts in self.usable
        )
        general = (finding for finding in self.findings if finding.code not in _LOCAL_CODES)
        findings = (*general, *(finding for case in self.cases for finding in case.findings))  # first what counts first
        return PreparedData(self.site, cases, findings, self.patient_ids)
