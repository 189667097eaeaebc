"""Fingerprint of a site: what its own images add to a common plan, and no more than its policy lets it share."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medfl.data.cases import Case
from medfl.data.cohort import read_cohort
from medfl.data.findings import Finding
from medfl.data.library_output import silence_libraries
from medfl.data.load import load_case
from medfl.data.splits import assign_splits
from medfl.errors import DataError
from medfl.planning.fingerprint import CaseMeasurements, Fingerprint, Scope, merge, too_few_error
from medfl.planning.plan import check_plannable
from medfl.site import Site
from medfl.study import Study

_SLAB_PLANES = 16  # planes that are looked at together: numpy counts in 8 bytes a voxel
_MAX_VALUES = 256  # that a mask can hold


@dataclass(frozen=True)
class FingerprintResult:
    """A fingerprint and what was noticed on the way.

    Parameters
    ----------
    fingerprint : Fingerprint
        What may leave.
    findings : tuple of Finding
        Cases that were left out, and warnings; they stay.
    """

    fingerprint: Fingerprint
    findings: tuple[Finding, ...]


def compute_fingerprint(
    site: Site,
    study: Study,
    progress: Callable[[int, int], None] | None = None,
    choose: Callable[[Sequence[Case]], Collection[str]] | None = None,
    *,
    is_simulated: bool = False,
) -> FingerprintResult:
    """Read every case of a site once and add up what may be shared. Patients of the test split are left out.

    Parameters
    ----------
    site : Site
        The hospital; its policy decides what may be shared.
    study : Study
        A segmentation; its task and crop decide what is looked at, its shares who is.
    progress : callable, optional
        Called with (cases done, cases in all) after each case.
    choose : callable, optional
        Called with all cases that could be measured; returns the names of those that are added up. All, unless given.
    is_simulated : bool
        Whether nothing leaves this machine; then nobody is left out whose number could be computed.

    Returns
    -------
    FingerprintResult

    Raises
    ------
    ConfigError
        When the study is no segmentation.
    DataError
        ``FINGERPRINT-FEW`` when the site has fewer patients or usable cases than its policy lets it share, and what the reading
        of the data folder as a whole raises.
    """
    check_plannable(study)
    cohort = read_cohort(site, study)
    splits = assign_splits(cohort.cases, study, site.name)
    cases = [case for case in cohort.cases if splits[case.name] != "test"]
    findings = list(cohort.findings)
    scope = Scope.from_study(study)
    measured: dict[str, Fingerprint] = {}
    for done, case in enumerate(cases, start=1):
        try:
            seen, found = _measure_case(case, scope, study, site)
        except DataError as error:
            findings.append(Finding.from_error(error, case.name))
        else:
            measured[case.name] = Fingerprint.from_case(scope, seen)
            findings += found
        if progress:
            progress(done, len(cases))
    usable = [case for case in cases if case.name in measured]
    if not is_simulated:
        usable = _leave_out_hidden(usable, splits, site)
    chosen = {case.name for case in usable} if choose is None else set(choose(usable))
    patients = {case.patient for case in usable if case.name in chosen}
    total = merge([Fingerprint.empty(scope), *(one for name, one in measured.items() if name in chosen)])
    if len(patients) < site.policy.min_count:  # several images of one patient are still one patient's
        raise too_few_error(len(patients), site.policy.min_count)
    return FingerprintResult(total.suppress(site.policy.min_count), tuple(findings))


def _leave_out_hidden(cases: list[Case], splits: Mapping[str, str], site: Site) -> list[Case]:
    """Leave out the validation where it is too small to be told: the number of those who train would tell its size.

    Where too few train, that leaves too few to describe: such a site cannot train either, and a plan does without it.
    """
    validating = {case.patient for case in cases if splits[case.name] == "validation"}
    is_hidden = len(validating) < site.policy.min_count
    return [case for case in cases if case.patient not in validating] if is_hidden else cases


def _measure_case(case: Case, scope: Scope, study: Study, site: Site) -> tuple[CaseMeasurements, list[Finding]]:
    from medfl.data.preprocess.cropping import find_crop_box
    from medfl.data.preprocess.steps import orient  # imports MONAI: seconds that only the reading of cases must pay

    try:
        with silence_libraries():
            volume, label = load_case(case, study, site)
    except DataError:
        raise
    except Exception as error:  # a library's own: its text may hold a path or a name, and it must not stop the rest
        what = f"the image or its label could not be read ({type(error).__name__})."
        raise DataError("CASE-UNREADABLE", what, "Check that the files are complete.", case.name) from None
    if isinstance(label, int):
        raise DataError("LBL-FORMAT", "the case has a class where the study needs a mask.", "Check the index.", case.name)
    found = [warning.of_case(case.name) for warning in volume.warnings]
    volume, mask = orient(volume, label, study)
    assert mask is not None
    box = find_crop_box(volume.array, volume.spacing, scope.crop)
    cropped = mask[box]
    counts, values = _count_voxels(volume.array[(slice(None), *box)], cropped, len(scope.classes), keep=scope.modality == "CT")
    return CaseMeasurements(
        spacing=volume.spacing,
        shape=cropped.shape,
        kept=cropped.size / math.prod(volume.shape),
        fractions=tuple(count / cropped.size for count in counts),
        foreground=values,
    ), found


def _count_voxels(
    image: NDArray[np.float32], mask: NDArray[np.uint8], classes: int, *, keep: bool
) -> tuple[list[int], tuple[NDArray[np.float32], ...]]:
    """Return the voxels of each foreground class, and if wanted the values of all of them by channel."""
    counts = np.zeros(_MAX_VALUES, np.int64)
    values: list[NDArray[np.float32]] = []
    for first in range(0, mask.shape[-1], _SLAB_PLANES):
        slab = mask[..., first : first + _SLAB_PLANES]
        counts += np.bincount(slab.ravel(), minlength=_MAX_VALUES)
        if keep:
            values.append(image[..., first : first + _SLAB_PLANES][:, (slab > 0) & (slab < classes)])  # above: to be ignored
    return counts[1:classes].tolist(), tuple(np.concatenate(values, axis=1)) if keep else ()
