"""What is predicted of a data folder, and how: it grows while the work goes on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from medfl.data.file_account import FileAccount
from medfl.data.findings import Finding
from medfl.data.mask_formats import MaskFormat
from medfl.models.prediction_folder import CaseRecord
from medfl.models.prediction_scores import bound_scores, score_patients
from medfl.models.run_models import Which
from medfl.runs.case_table import CaseResult
from medfl.study import Study


@dataclass(frozen=True)
class PredictionOptions:
    """How to predict.

    Parameters
    ----------
    flips : bool
        Whether to average over mirrored images, along the axes along which training mirrored them.
    mask_format : {"auto", "nifti", "seg", "labelmap", "png"}
        Format of masks; by default what the image is: DICOM-SEG for a series, NIfTI for NIfTI, PNG for pictures.
    original_names : bool
        Whether files and tables bear the names of the data, which may identify patients, instead of pseudonyms alone.
    again : bool
        Whether to predict anew what is there already.
    device : {"", "auto", "cpu", "cuda", "mps"}
        Where to predict; empty: as the site.toml says, or the fastest one.
    arm, site, which
        Of a run, which of its models is meant: see `medfl.api.OpenRun.model`.
    """

    flips: bool = False
    mask_format: MaskFormat = "auto"
    original_names: bool = False
    again: bool = False
    device: Literal["", "auto", "cpu", "cuda", "mps"] = ""
    arm: str = "federated"
    site: str | None = None
    which: Which = "best"


@dataclass
class PredictedFolder:
    """What was predicted of a data folder; it grows while the work goes on, so that whoever stops it knows what is left.

    Parameters
    ----------
    study : Study
        Study of the model.
    out : Path
        Folder of the predictions.
    cases : tuple of str
        Pseudonyms of all images that can be predicted, in the order of the data.
    done : dict of str to CaseRecord
        What is done, by pseudonym.
    fresh : int
        How many of them this call predicted.
    findings : list of Finding
        Why others were left out, and warnings.
    patient_ids : bool
        Whether the data names its patients.
    removed : tuple of str
        Pseudonyms whose earlier predictions were removed: the image is not in the data any more, or is left out now.
    files : FileAccount, optional
        What becomes of each file of the data folder; None where a single image was named.
    """

    study: Study
    out: Path
    cases: tuple[str, ...] = ()
    done: dict[str, CaseRecord] = field(default_factory=dict)
    fresh: int = 0
    findings: list[Finding] = field(default_factory=list)
    patient_ids: bool = True
    removed: tuple[str, ...] = ()
    files: FileAccount | None = None
    _by_case: dict[str, list[Finding]] = field(default_factory=dict, repr=False)

    def note(self, findings: Iterable[Finding]) -> None:
        """Add findings."""
        for one in findings:
            self.findings.append(one)
            self._by_case.setdefault(one.case, []).append(one)

    def findings_of(self, case: str) -> Sequence[Finding]:
        """Return what was noticed of one case."""
        return self._by_case.get(case, ())

    def keep(self, record: CaseRecord) -> None:
        """Take over what a call before has done, with what it noticed: whoever decides by the findings must not miss any."""
        case = record.result.case
        self.done[case] = record
        known = {(one.code, one.what) for one in self.findings_of(case)}
        told = [Finding.warning(*words).of_case(case) for words in record.warnings]
        self.note(one for one in told if (one.code, one.what) not in known)

    @property
    def left_out(self) -> tuple[str, ...]:
        """Pseudonyms of the images that cannot be predicted."""
        return tuple(dict.fromkeys(one.case for one in self.findings if one.case and one.level == "error"))

    @property
    def remaining(self) -> tuple[str, ...]:
        """Pseudonyms of the images that can be predicted and are not yet."""
        out = set(self.left_out)
        return tuple(case for case in self.cases if case not in self.done and case not in out)

    @property
    def results(self) -> tuple[CaseResult, ...]:
        """Results of the cases that are done, in the order of the data."""
        return tuple(self.done[case].result for case in self.cases if case in self.done)

    def scores(self) -> tuple[int, dict[str, float]]:
        """Return the number of patients with a label, and the scores over them."""
        return score_patients(self.study, self.results)

    def score_errors(self) -> dict[str, float]:
        """Return how far a score may be from that of the single probabilities, by the names of `scores`."""
        return bound_scores(self.study, self.results)
