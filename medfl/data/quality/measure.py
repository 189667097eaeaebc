"""Measurement of a case: its size, spacing, grey values and classes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from medfl.data.cases import Case
from medfl.data.classes import annotated_classes
from medfl.data.findings import Finding
from medfl.data.image_extent import along_patient
from medfl.data.library_output import silence_libraries
from medfl.data.load import load_case, unreadable_finding
from medfl.data.preprocess.cropping import find_crop_box
from medfl.data.quality.facts import PERCENTILES, CaseFacts
from medfl.data.quality.foretelling import foretell_preparing
from medfl.data.quality.imaging_device import read_imaging_device
from medfl.data.quality.preview_planes import render_planes, subsample
from medfl.data.same_content import checksum_content
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
            measured = _measure_volume(known, volume, label, study, preview=preview)
            prepared, warnings = foretell_preparing(case, *_cropped_grid(volume, study), study, site)
            content = checksum_content(volume, label)
            return replace(measured, prepared=prepared, content=content, findings=(*measured.findings, *warnings))
    except DataError as error:
        return exclude_case(known, Finding.from_error(error, case.name))
    except Exception as error:  # a library's own: its text may hold a path or a name, and it must not stop the rest
        return exclude_case(known, unreadable_finding(case.name, error))


def exclude_case(known: CaseFacts, finding: Finding) -> CaseFacts:
    """Return what is known of a case that an error leaves out."""
    return replace(known, split="", findings=(finding,))


def _measure_volume(
    known: CaseFacts, volume: Volume, label: NDArray[np.uint8] | int | None, study: Study, *, preview: bool
) -> CaseFacts:
    flat = study.task.dimension == 2
    mask = label if isinstance(label, np.ndarray) else None
    values = subsample(volume.array[0])
    return replace(
        known,
        findings=tuple(warning.of_case(known.case) for warning in volume.warnings),
        size=volume.shape,
        spacing=() if flat else volume.spacing,
        intensity=tuple(float(value) for value in np.percentile(values, PERCENTILES)),
        amounts=((label, 1.0),) if isinstance(label, int) else () if mask is None else _measure_classes(mask, volume, study),
        planes=render_planes(volume, mask, study.task.modality) if preview else (),
    )


def _cropped_grid(volume: Volume, study: Study) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """Return shape and spacing of what the study's crop leaves of an image, along the axes of the patient."""
    box = find_crop_box(volume.array, volume.spacing, study.preprocessing.crop)
    shape = [side.stop - side.start for side in box]
    return along_patient(shape, None if study.task.dimension == 2 else volume.affine[:3, :3])


def _measure_classes(mask: NDArray[np.uint8], volume: Volume, study: Study) -> tuple[tuple[int, float], ...]:
    flat = study.task.dimension == 2
    one = 1 / mask.size if flat else abs(float(np.linalg.det(volume.affine[:3, :3]))) / _MM3_PER_ML
    # one class after the other: np.bincount would take eight times the memory of the mask
    counts = [(index, np.count_nonzero(mask == index)) for index in range(1, len(study.task.classes))]
    return tuple((index, float(count * one)) for index, count in counts if count)
