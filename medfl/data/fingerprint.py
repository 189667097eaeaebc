"""The fingerprint of a site: what its own images add to a common plan, and no more than its policy lets it tell."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medfl.data.cases import Case, Finding
from medfl.data.cohort import read_cohort
from medfl.data.load import load_case
from medfl.data.quiet import quiet
from medfl.data.splits import assign
from medfl.errors import DataError
from medfl.planning.fingerprint import Fingerprint, Scope, Seen, merge, too_few
from medfl.planning.plan import check_plannable
from medfl.site import Site
from medfl.study import Study

_SLAB = 16  # planes that are looked at together: numpy counts in 8 bytes a voxel
_VALUES = 256  # that a mask can hold


@dataclass(frozen=True)
class Taken:
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


def take_fingerprint(site: Site, study: Study, progress: Callable[[int, int], None] | None = None) -> Taken:
    """Read every case of a site once and add up what may be told of them. Patients of the test split are not looked at.

    Parameters
    ----------
    site : Site
        The hospital; its policy decides what may be told.
    study : Study
        A segmentation; its task and crop decide what is looked at, its shares who is.
    progress : callable, optional
        Called with (cases done, cases in all) after each case.

    Returns
    -------
    Taken

    Raises
    ------
    ConfigError
        When the study is no segmentation.
    DataError
        ``FINGERPRINT-FEW`` when the site has fewer patients or usable cases than its policy lets it tell, and what the reading
        of the data folder as a whole raises.
    """
    check_plannable(study)
    cohort = read_cohort(site, study)
    splits = assign(cohort.cases, study)
    cases = [case for case in cohort.cases if splits[case.name] != "test"]
    findings = list(cohort.findings)
    scope = Scope.of(study)
    total = Fingerprint.empty(scope)
    patients: set[str] = set()
    for done, case in enumerate(cases, start=1):
        try:
            seen, found = _seen(case, scope, study, site)
        except DataError as error:
            findings.append(Finding.from_error(error, case.name))
        else:
            total = merge([total, Fingerprint.of_case(scope, seen)])
            findings += found
            patients.add(case.patient)
        if progress:
            progress(done, len(cases))
    if len(patients) < site.policy.min_count:  # several images of one patient are still one patient's
        raise too_few(len(patients), site.policy.min_count)
    return Taken(total.suppress(site.policy.min_count), tuple(findings))


def _seen(case: Case, scope: Scope, study: Study, site: Site) -> tuple[Seen, list[Finding]]:
    from medfl.data.preprocess import orient  # imports MONAI: seconds that only the reading of cases must pay
    from medfl.data.preprocess.box import crop_box

    try:
        with quiet():
            volume, label = load_case(case, study, site)
    except DataError:
        raise
    except Exception as error:  # a library's own: its text may hold a path or a name, and it must not stop the rest
        what = f"the image or its label could not be read ({type(error).__name__})."
        raise DataError("CASE-UNREADABLE", what, "Check that the files are complete.", case.name) from None
    if isinstance(label, int):
        raise DataError("LBL-FORMAT", "the case has a class where the study needs a mask.", "Check the index.", case.name)
    found = [Finding.from_error(warning, case.name, level="warning") for warning in volume.warnings]
    volume, mask = orient(volume, label, study)
    assert mask is not None
    box = crop_box(volume.array, volume.spacing, scope.crop)
    cropped = mask[box]
    counts, values = _look(volume.array[(slice(None), *box)], cropped, len(scope.classes), keep=scope.modality == "CT")
    return Seen(
        spacing=volume.spacing,
        shape=cropped.shape,
        kept=cropped.size / math.prod(volume.shape),
        fractions=tuple(count / cropped.size for count in counts),
        foreground=values,
    ), found


def _look(
    image: NDArray[np.float32], mask: NDArray[np.uint8], classes: int, *, keep: bool
) -> tuple[list[int], tuple[NDArray[np.float32], ...]]:
    """Return the voxels of each foreground class, and if wanted the values of all of them by channel."""
    counts = np.zeros(_VALUES, np.int64)
    values: list[NDArray[np.float32]] = []
    for first in range(0, mask.shape[-1], _SLAB):
        slab = mask[..., first : first + _SLAB]
        counts += np.bincount(slab.ravel(), minlength=_VALUES)
        if keep:
            values.append(image[..., first : first + _SLAB][:, (slab > 0) & (slab < classes)])  # above: to be ignored
    return counts[1:classes].tolist(), tuple(np.concatenate(values, axis=1)) if keep else ()
