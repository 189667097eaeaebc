"""What preparing will make of the cases, and what will stop it: said by a check, before anything is prepared."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence

from medfl.data.cases import Case, Source
from medfl.data.findings import Finding
from medfl.data.quality.facts import CaseFacts
from medfl.data.store.cache_folder import CacheFolder
from medfl.data.store.cache_key import compute_cache_key, site_root
from medfl.data.store.forecast import Forecast
from medfl.data.store.prepare import patch_size_warnings
from medfl.data.store.prepared_size import check_prepared_size, foretell_shape, stored_bytes
from medfl.data.store.private_folder import unwritable_error
from medfl.errors import DataError
from medfl.site import Site
from medfl.study import Study
from medfl.system.memory import available_memory, total_memory


def foretell_preparing(
    case: Case, shape: Sequence[int], spacing: Sequence[float], study: Study, site: Site, *, exact: bool = True
) -> tuple[tuple[int, ...], list[Finding]]:
    """Return the shape that a case will have when it is prepared, and what is to be said about it.

    Parameters
    ----------
    case : Case
        The case.
    shape : sequence of int
        Voxels along each axis after the crop; of a volume in the order right-left, back-front, bottom-top.
    spacing : sequence of float
        Millimetres between them; empty when unknown.
    study : Study
        Says how images are preprocessed.
    site : Site
        Says how large a prepared image may be.
    exact : bool
        Whether `shape` is what the crop leaves. If not, it is the most that it can leave, and nothing follows with certainty.

    Returns
    -------
    shape : tuple of int
        Empty when it is not certain.
    findings : list of Finding
        Warnings: ``PATCH-TOO-BIG``, ``CASE-MEMORY`` when preparing needs more memory than is free now.

    Raises
    ------
    DataError
        ``PREP-SIZE``; ``CASE-MEMORY`` when preparing needs more memory than there is.
    """
    masked = isinstance(case.label, Source)
    findings: list[Finding] = []
    try:
        check_prepared_size(shape, spacing, study, site.data, masked=masked, memory=available_memory())
    except DataError as error:
        findings = [Finding.from_error(error, case.name, "warning")]
        try:  # whether it is too large for this machine at any time
            check_prepared_size(shape, spacing, study, site.data, masked=masked, memory=total_memory())
        except DataError as certain:
            if exact:
                raise
            findings = [Finding.from_error(certain, case.name, "warning")]
    if not exact:
        return (), findings
    prepared = foretell_shape(shape, spacing, study)
    return prepared, [*patch_size_warnings(case.name, prepared, study), *findings]


def check_store(cases: Sequence[CaseFacts], study: Study, site: Site) -> None:
    """Check that the store can take the cases that are not in it yet, and that what prepares them is installed.

    Parameters
    ----------
    cases : sequence of CaseFacts
        The cases of a check; those without a certain prepared size do not count.
    study : Study
        Says how images are preprocessed.
    site : Site
        The hospital.

    Raises
    ------
    DataError
        ``SITE-EXTRA``, ``STORE-UNWRITABLE``.
    DiskFullError
        ``DISK-FULL``.
    """
    if study.preprocessing.bias_correction == "n4":
        from medfl.data.preprocess.bias_field import require_bias_correction  # imports torch

        require_bias_correction()
    folder = site_root(site) / compute_cache_key(site, study)[:16]
    known = CacheFolder(folder).case_names() if folder.is_dir() else set()
    masked = study.task.kind == "segmentation"
    missing = [case for case in cases if case.usable and case.prepared and case.case not in known]
    size = sum(stored_bytes(case.size, case.prepared, study, masked=masked) for case in missing)
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    if not os.access(existing, os.W_OK | os.X_OK):
        raise unwritable_error(PermissionError())
    free = shutil.disk_usage(existing).free
    Forecast(len(cases), len(cases) - len(missing), size, free, exact=True, unknown=0).require_space()
