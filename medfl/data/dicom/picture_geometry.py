"""How the patient lies in a DICOM image that is read by itself, and the shape of its pixels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from medfl.data.dicom.headers import Header
from medfl.data.pictures.geometry import (
    SQUARE_TOLERANCE,
    PictureGeometry,
    PixelSize,
    check_pixel_size,
    picture_of_patient,
    plane_affine,
)
from medfl.data.pictures.turn import Directions, affine_directions, opposite, parse_patient_orientation
from medfl.data.volume import LPS_TO_RAS
from medfl.errors import DataError

_SPACINGS = ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing")  # between rows, between columns
_ORIENTATION_TOLERANCE = 1e-2  # by which direction cosines may be off a pair of perpendicular unit vectors
_TISSUE, _CENTIMETRES = 1, 3  # RegionSpatialFormat 2D; PhysicalUnitsXDirection (PS3.3 C.8.5.5)


def read_picture_geometry(dataset: Dataset, header: Header) -> PictureGeometry:
    """Return the geometry of a single image.

    Directions come from ImageOrientationPatient (PS3.3 C.7.6.2.1.1), else from PatientOrientation (C.7.6.1.1.1). An image that
    states neither stays as stored. FieldOfViewHorizontalFlip tells how the image was read from the detector, which says nothing
    of the patient. The shape of a pixel comes from PixelSpacing, ImagerPixelSpacing, NominalScannedPixelSpacing, the regions of
    an ultrasound image, or PixelAspectRatio (C.7.6.3.1.7).

    Parameters
    ----------
    dataset : Dataset
        The whole file, or nothing of it where attributes that the header lacks do not matter.
    header : Header
        Its attributes; for an enhanced object, those of its frame.

    Raises
    ------
    DataError
        ``DCM-HEADER``, ``DCM-IOP``, ``DCM-SIDES`` when the two orientations are opposed, or ``IMG-SPACING``.
    """
    shape = int(header.text("Columns") or 0), int(header.text("Rows") or 0)
    try:
        orientation = np.array(header.numbers("ImageOrientationPatient"), dtype=np.float64)
        position = np.array(header.numbers("ImagePositionPatient"), dtype=np.float64)
        spacing = header.numbers("PixelSpacing")
        stated = parse_patient_orientation(_texts(dataset, "PatientOrientation"))
        pixel_size = _read_pixel_size(dataset, spacing)
    except (ValueError, TypeError, AttributeError):
        raise DataError(
            "DCM-HEADER", "the position or pixel size in the header is damaged.", "Export the image again."
        ) from None
    if not orientation.size:
        if stated is None:
            return PictureGeometry(shape, pixel_size=pixel_size)
        return picture_of_patient(shape, stated, pixel_size, mammogram=header.text("Modality").upper() == "MG")
    x, y = _check_orientation(orientation)
    affine = plane_affine(position if position.size == 3 else np.zeros(3), x, y)
    directions = affine_directions(LPS_TO_RAS @ affine)
    _check_sides(directions, stated)
    place = None
    if position.size == 3 and len(spacing) == 2 and min(spacing) > 0:
        place = LPS_TO_RAS @ plane_affine(position, x * spacing[1], y * spacing[0])
    return picture_of_patient(shape, directions, pixel_size, place)


def _texts(dataset: Dataset, keyword: str) -> tuple[str, ...]:
    value = dataset.get(keyword)
    return () if not value or isinstance(value, str) else tuple(str(part) for part in value)


def _check_orientation(orientation: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    if orientation.shape == (6,) and np.isfinite(orientation).all():
        x, y = orientation[:3], orientation[3:]
        products = np.array([x @ x - 1, y @ y - 1, x @ y])
        if np.abs(products).max() <= _ORIENTATION_TOLERANCE:
            return x, y
    what = "ImageOrientationPatient is not a pair of perpendicular unit vectors."
    raise DataError("DCM-IOP", what, "The header was damaged by a conversion; export the original.")


def _check_sides(directions: Directions, stated: Directions | None) -> None:
    if stated and any(one == opposite(other) for one, other in zip(directions, stated, strict=True)):
        what = "ImageOrientationPatient and PatientOrientation name opposite sides of the patient."
        raise DataError("DCM-SIDES", what, "Export the original image.")


def _read_pixel_size(dataset: Dataset, spacing: Sequence[float]) -> PixelSize | None:
    """Return width and height of a pixel.

    Raises
    ------
    DataError
        ``IMG-SPACING`` when two attributes differ about its shape, or one cannot be true.
    """
    pairs = [tuple(spacing)] + [tuple(map(float, dataset.get(keyword) or ())) for keyword in _SPACINGS[1:]]
    sizes = [(pair[1], pair[0]) for pair in pairs if len(pair) == 2] + _region_sizes(dataset)
    ratio = tuple(map(float, dataset.get("PixelAspectRatio") or ()))  # of height to width
    if len(ratio) == 2:
        sizes.append((ratio[1], ratio[0]))
    usable = [size for pair in sizes if (size := check_pixel_size(*pair)) is not None]
    if not usable:
        return None
    shapes = [height / width for width, height in usable]
    if max(shapes) > (1 + SQUARE_TOLERANCE) * min(shapes):
        raise DataError("IMG-SPACING", "the header states two different shapes of a pixel.", "Export the original image.")
    return usable[0]


def _region_sizes(dataset: Dataset) -> list[PixelSize]:
    """Return width and height of a pixel in each region of an ultrasound image that shows tissue, in centimetres."""
    return [
        (abs(float(region.PhysicalDeltaX)), abs(float(region.PhysicalDeltaY)))
        for region in dataset.get("SequenceOfUltrasoundRegions") or ()
        if region.get("RegionSpatialFormat") == _TISSUE
        and region.get("PhysicalUnitsXDirection") == region.get("PhysicalUnitsYDirection") == _CENTIMETRES
        and region.get("PhysicalDeltaX")
        and region.get("PhysicalDeltaY")
    ]
