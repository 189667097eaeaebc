"""Measurement of a case: its size, spacing, grey values and classes."""

from __future__ import annotations

from dataclasses import replace

import nibabel
import numpy as np
from numpy.typing import NDArray

from medfl.data.cases import Case
from medfl.data.classes import annotated_classes
from medfl.data.findings import Finding
from medfl.data.library_output import silence_libraries
from medfl.data.load import load_case
from medfl.data.quality.facts import PERCENTILES, CaseFacts
from medfl.data.quality.imaging_device import read_imaging_device
from medfl.data.quality.preview_planes import render_planes, subsample
from medfl.data.store.prepare import patch_size_warnings
from medfl.data.volume import Volume
from medfl.errors import DataError
from medfl.site import Site
from medfl.study import Study

_MM3_PER_ML = 1000.0  # cubic millimetres


def measure_case(case: Case, study: Study, site: Site, *, preview: bool = False) -> CaseFacts:
    """Read a case and measure it; whatever goes wrong becomes a finding about it.

    Parameters
    ----------
    case : Case
        Case with its split.
    study : Study
        Names the task.
    site : Site
        The hospital.
    preview : bool
        Whether to make pictures.
    """
    known = CaseFacts(case.name, case.patient, case.split, kind=case.image.kind)
    try:
        with silence_libraries():
            known = replace(
                known, device=read_imaging_device(case.image, site), annotated=annotated_classes(case.annotated, study, site)
            )
            volume, label = load_case(case, study, site)
            return _measure_volume(known, volume, label, study, preview=preview)
    except DataError as error:
        return exclude_case(known, Finding.from_error(error, case.name))
    except Exception as error:  # a library's own: its text may hold a path or a name, and it must not stop the rest
        return exclude_case(known, unreadable_finding(case.name, type(error).__name__))


def exclude_case(known: CaseFacts, finding: Finding) -> CaseFacts:
    """Return what is known of a case that an error leaves out."""
    return replace(known, split="", findings=(finding,))


def unreadable_finding(case: str, kind: str) -> Finding:
    """Return the finding about a case on which a library failed in a way of its own."""
    what = f"the image or its label could not be read ({kind})."
    fix = "Check that the files are complete and can be opened with another program, and export them again."
    return Finding("CASE-UNREADABLE", case, what, fix)


def _measure_volume(
    known: CaseFacts, volume: Volume, label: NDArray[np.uint8] | int, study: Study, *, preview: bool
) -> CaseFacts:
    flat = study.task.dimension == 2
    mask = None if isinstance(label, int) else label
    values = subsample(volume.array[0])
    return replace(
        known,
        findings=(
            *(warning.of_case(known.case) for warning in volume.warnings),
            *_patch_warnings(known.case, volume, study),
        ),
        size=volume.shape,
        spacing=() if flat else volume.spacing,
        intensity=tuple(float(value) for value in np.percentile(values, PERCENTILES)),
        amounts=((label, 1.0),) if isinstance(label, int) else _measure_classes(label, volume, study),
        planes=render_planes(volume, mask, study.task.modality) if preview else (),
    )


def _patch_warnings(case: str, volume: Volume, study: Study) -> list[Finding]:
    """Return the warnings about patches that preparing will give, where it leaves the number of voxels unchanged."""
    steps = study.preprocessing
    if steps.spacing or steps.size or steps.crop != "none":
        return []
    shape = list(volume.shape)
    if len(shape) == 3:  # as prepared: along RAS+ axes
        for axis, (place, _) in enumerate(nibabel.io_orientation(volume.affine)):
            shape[int(place)] = volume.shape[axis]
    return patch_size_warnings(case, shape, study)


def _measure_classes(mask: NDArray[np.uint8], volume: Volume, study: Study) -> tuple[tuple[int, float], ...]:
    flat = study.task.dimension == 2
    one = 1 / mask.size if flat else abs(float(np.linalg.det(volume.affine[:3, :3]))) / _MM3_PER_ML
    # one class after the other: np.bincount would take eight times the memory of the mask
    counts = [(index, np.count_nonzero(mask == index)) for index in range(1, len(study.task.classes))]
    return tuple((index, float(count * one)) for index, count in counts if count)
