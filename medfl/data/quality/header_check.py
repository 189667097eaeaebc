"""Check of headers alone: geometry, devices, and the problems that need no pixel to be found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from PIL import Image

from medfl.data.cases import Case, Source
from medfl.data.classes import annotated_classes
from medfl.data.dicom.checks import build_stack, check_series
from medfl.data.dicom.headers import Header
from medfl.data.dicom.series import CONVERTIBLE_CODES
from medfl.data.dicom.source_headers import read_source_headers
from medfl.data.findings import Finding
from medfl.data.library_output import silence_libraries
from medfl.data.nifti import read_nifti_extent
from medfl.data.quality.facts import CaseFacts
from medfl.data.quality.imaging_device import read_imaging_device
from medfl.data.quality.measure import exclude_case, unreadable_finding
from medfl.data.volume import affine_to_spacing
from medfl.errors import DataError
from medfl.site import Site
from medfl.study import Study

Extent = tuple[tuple[int, ...], tuple[float, ...]]  # voxels along each axis, and mm between them


def check_headers(case: Case, study: Study, site: Site) -> CaseFacts:
    """Return the facts in the headers of a case; the geometry of a DICOM series is checked as reading would check it.

    Parameters
    ----------
    case : Case
        Case with its split.
    study : Study
        Names the task.
    site : Site
        The hospital.
    """
    amounts = ((case.label, 1.0),) if isinstance(case.label, int) else ()
    known = CaseFacts(case.name, case.patient, case.split, kind=case.image.kind, amounts=amounts)
    try:
        with silence_libraries():
            (size, spacing), warnings = _read_extent(case.image, study, site)
            findings = tuple(warning.of_case(case.name) for warning in warnings)
            known = replace(known, annotated=annotated_classes(case.annotated, study, site), size=size, spacing=spacing)
            return replace(known, device=read_imaging_device(case.image, site), findings=findings)
    except DataError as error:
        return exclude_case(known, Finding.from_error(error, case.name))
    except Exception as error:  # a library's own: its text may hold a path or a name
        return exclude_case(known, unreadable_finding(case.name, type(error).__name__))


def _read_extent(source: Source, study: Study, site: Site) -> tuple[Extent, list[Finding]]:
    flat, path = study.task.dimension == 2, source.paths[0]
    if source.kind == "image":
        with Image.open(path) as image:
            return (image.size, ()), []
    if source.kind == "nifti":
        channels = study.task.channels if len(source.paths) == 1 else 1
        shape, affine = read_nifti_extent(path, channels=channels, dimension=study.task.dimension, settings=site.data)
        return (shape[: study.task.dimension], () if flat else affine_to_spacing(affine)), []
    headers = read_source_headers(source, force=site.data.allow_headerless)
    if flat:
        return (_matrix_size(headers[0]), ()), []
    return _series_extent(headers, source.select[0] if source.select else "", site)


def _series_extent(headers: Sequence[Header], select: str, site: Site) -> tuple[Extent, list[Finding]]:
    try:
        ordered, warnings = check_series(headers, site.data, select)
    except DataError as error:
        if site.data.converter == "none" or error.code not in CONVERTIBLE_CODES:
            raise
        return ((*_matrix_size(headers[0]), len(headers)), ()), []
    stack = build_stack(ordered)
    rows, columns = stack.pixel_spacing
    count = len(stack.positions)
    spacing = (columns, rows, float(np.median(np.diff(stack.positions_along_normal())))) if count > 1 else (columns, rows)
    return ((*_matrix_size(ordered[0]), count), spacing), warnings


def _matrix_size(header: Header) -> tuple[int, int]:
    return int(header.text("Columns") or 0), int(header.text("Rows") or 0)
