"""Extent of an image by its headers alone: its voxels along each axis, and the millimetres between them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from nibabel import orientations
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from medfl.data.cases import Source
from medfl.data.dicom.checks import build_stack, check_series
from medfl.data.dicom.headers import Header
from medfl.data.dicom.picture_geometry import read_picture_geometry as read_dicom_geometry
from medfl.data.dicom.series import CONVERTIBLE_CODES
from medfl.data.dicom.source_headers import read_source_headers
from medfl.data.findings import Finding
from medfl.data.nifti import read_nifti_extent
from medfl.data.pictures.decoding import read_picture_geometry
from medfl.data.size_limits import check_declared_size
from medfl.errors import DataError
from medfl.site import Site
from medfl.study import Study


@dataclass(frozen=True, eq=False)
class ImageExtent:
    """Voxels of an image along each axis, and where the axes point.

    Parameters
    ----------
    shape : tuple of int
        Voxels along each axis.
    steps : ndarray, optional
        (3, 3): millimetres from one voxel to the next along each axis, as columns; their signs may be those of DICOM's axes.
        None for a 2-D image, and where the headers do not say.
    warnings : tuple of Finding
        What the reader of the headers noticed and could live with.
    """

    shape: tuple[int, ...]
    steps: NDArray[np.float64] | None = None
    warnings: tuple[Finding, ...] = ()

    @property
    def spacing(self) -> tuple[float, ...]:
        """Millimetres between voxels along each axis; empty when unknown."""
        return () if self.steps is None else tuple(float(step) for step in np.linalg.norm(self.steps, axis=0))

    def along_patient(self) -> tuple[tuple[int, ...], tuple[float, ...]]:
        """Return shape and spacing in the order right-left, back-front, bottom-top, in which images are prepared."""
        return along_patient(self.shape, self.steps)


def along_patient(shape: Sequence[int], steps: NDArray[np.float64] | None) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """Return shape and spacing of an image in the order right-left, back-front, bottom-top, as `to_ras` sorts its axes."""
    if steps is None:
        return tuple(shape), ()
    affine = np.eye(4)
    affine[:3, :3] = steps
    order = np.argsort(orientations.io_orientation(affine)[:, 0]).astype(int)
    spacing = np.linalg.norm(steps, axis=0)
    return tuple(int(shape[axis]) for axis in order), tuple(float(spacing[axis]) for axis in order)


def read_extent(source: Source, study: Study, site: Site) -> ImageExtent:
    """Read the extent of an image from its headers; the geometry of a DICOM series is checked as reading would check it.

    Parameters
    ----------
    source : Source
        The image.
    study : Study
        Says what kind of image is needed.
    site : Site
        Says how its data is to be read.

    Raises
    ------
    DataError
        ``IMG-LARGE``, and what the readers raise about headers.
    OSError
        When a picture cannot be opened.
    """
    extent = _read_extent(source, study, site)
    check_declared_size(extent.shape, site.data)
    return extent


def _read_extent(source: Source, study: Study, site: Site) -> ImageExtent:
    flat = study.task.dimension == 2
    if source.kind == "image":
        return ImageExtent(read_picture_geometry(source.paths[0], site.data).size)
    if source.kind == "nifti":
        channels = (source.volume_count or study.task.channel_count) if len(source.paths) == 1 else 1
        dimension = study.task.dimension
        shape, affine = read_nifti_extent(source.paths[0], channels=channels, dimension=dimension, settings=site.data)
        return ImageExtent(shape[: study.task.dimension], None if flat else affine[:3, :3])
    headers = read_source_headers(source, force=site.data.allow_headerless)
    if flat:
        return ImageExtent(read_dicom_geometry(Dataset(), headers[0]).size)
    return _series_extent(headers, source.select[0] if source.select else "", site)


def _series_extent(headers: Sequence[Header], select: str, site: Site) -> ImageExtent:
    try:
        ordered, warnings = check_series(headers, site.data, select)
    except DataError as error:
        if site.data.converter == "none" or error.code not in CONVERTIBLE_CODES:
            raise
        return ImageExtent((*_matrix_size(headers[0]), len(headers)))
    stack = build_stack(ordered)
    rows, columns = stack.pixel_spacing
    count = len(stack.positions)
    step = float(np.median(np.diff(stack.positions_along_normal()))) if count > 1 else 1.0
    return ImageExtent((*_matrix_size(ordered[0]), count), stack.axes * [columns, rows, step], tuple(warnings))


def _matrix_size(header: Header) -> tuple[int, int]:
    return int(header.text("Columns") or 0), int(header.text("Rows") or 0)
