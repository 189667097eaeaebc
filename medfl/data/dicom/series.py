"""Reading DICOM series as volumes and single DICOM images as 2-D images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.pixels.processing import apply_color_lut, apply_modality_lut

from medfl.data.dicom.checks import check_series
from medfl.data.dicom.geometry import DISTANCE_SHARE, FEW_SLICES, SAME_PLACE_MM, Stack, check_stack
from medfl.data.dicom.headers import NOT_IMAGES, PROJECTION, Header, load_datasets, read_headers
from medfl.data.images import LUMINANCE
from medfl.data.quiet import quiet
from medfl.data.volume import LPS, Volume
from medfl.errors import DataError

_PROBLEMS = {
    "DCM-CODEC": (
        "the pixel data is compressed in a way that no installed decoder reads.",
        "Let the PACS send uncompressed images.",
    ),
    "DCM-TRUNCATED": ("the pixel data of an image is shorter than its header says, or damaged.", "Export the series again."),
    "DCM-VOLUME": ("the images do not form one regular volume.", "Export the series again, or convert it with dcm2niix."),
}


def read_series(paths: Sequence[Path], *, min_slices: int = FEW_SLICES) -> Volume:
    """Read one series of single-frame images, or one enhanced multi-frame object, as a volume.

    The headers are checked first, highdicom reads, and the positions of the slices are compared with the result.

    Parameters
    ----------
    paths : sequence of Path
        The files of the series, in any order.
    min_slices : int
        Fewer slices than this are refused.

    Returns
    -------
    Volume
        Array (1, X, Y, Z): columns, rows, slices; CT in Hounsfield units.

    Raises
    ------
    DataError
        See `medfl.data.dicom.checks` and `medfl.data.dicom.geometry`; ``DCM-RESCALE``, ``DCM-CODEC``, ``DCM-TRUNCATED``,
        ``DCM-VOLUME`` or ``DCM-RESIDUAL`` from reading itself.
    """
    ordered, warnings = check_series(read_headers(paths), min_slices)
    warnings += _check_rescale(ordered)
    datasets = load_datasets(ordered)
    with quiet():
        stack = _stack_of(datasets)
        if ordered[0].frames > 1:
            stack = _checked_frames(stack, min_slices)
        volume = _read(datasets)
    _check_residual(volume, stack)
    affine = LPS @ np.asarray(volume.affine, dtype=np.float64)[:, [2, 1, 0, 3]]
    return Volume(np.asarray(volume.array, dtype=np.float32).transpose(2, 1, 0)[np.newaxis], affine, tuple(warnings))


def _check_rescale(headers: Sequence[Header]) -> list[DataError]:
    """Refuse slices of two scales of grey values in one volume, and return a warning about a CT without a scale."""
    lacking = sum(not header.text("RescaleIntercept") for header in headers)
    if 0 < lacking < len(headers):
        what = f"RescaleIntercept is missing in {lacking} of {len(headers)} images, so their grey values are not on one scale."
        raise DataError("DCM-RESCALE", what, "Export the original series.")
    if lacking and headers[0].frames == 1 and headers[0].text("Modality") == "CT":
        what = "the CT has no RescaleIntercept, so its values may not be Hounsfield units."
        return [DataError("CT-HU", what, "Export the original series.")]
    return []


def _checked_frames(stack: Stack, min_slices: int) -> Stack:
    """Check the frames of a multi-frame object as slices are checked, and return them in order."""
    stack = stack.sorted(np.argsort(stack.along_normal(), kind="stable"))
    if (np.diff(stack.along_normal()) < SAME_PLACE_MM).any():
        what = "the object holds several frames at one place (several echoes, times or b-values)."
        raise DataError("DCM-MULTIVOLUME", what, "Export the volume that is meant as a series of its own.")
    check_stack(stack, min_slices)
    return stack


def _read(datasets: list[Dataset]) -> Any:
    import highdicom  # half a second that a site without DICOM does not pay

    first = datasets[0]
    options = {
        "dtype": np.float32,
        "apply_real_world_transform": False,  # Hounsfield units are told by the modality transform
        "apply_presentation_lut": False,  # MONOCHROME1 tells how to show a CT or MR, not what its values mean
        "rtol": DISTANCE_SHARE,
    }
    for dataset in datasets:
        if not dataset.get("FrameOfReferenceUID"):
            dataset.FrameOfReferenceUID = "2.25.1"  # highdicom wants one; it goes nowhere
    try:
        if int(first.get("NumberOfFrames") or 1) > 1:
            return highdicom.Image.from_dataset(first).get_volume(**options)
        for dataset in datasets:  # checked to agree within 1e-3, highdicom wants them exactly equal
            dataset.ImageOrientationPatient = first.ImageOrientationPatient
            dataset.PixelSpacing = first.PixelSpacing
        return highdicom.get_volume_from_series(datasets, **options)
    except Exception as error:
        raise _problem(error) from None


def _problem(error: Exception) -> DataError:
    text = str(error).lower()
    codec = isinstance(error, NotImplementedError) or "missing dependencies" in text or "no available" in text
    short = any(
        words in text for words in ("less than expected", "decod", "unable to decompress", "bytes", "fragment", "frame data")
    )
    code = "DCM-CODEC" if codec else "DCM-TRUNCATED" if short else "DCM-VOLUME"
    return DataError(code, *_PROBLEMS[code])


def _stack_of(datasets: list[Dataset]) -> Stack:
    """Return where the slices or frames lie, whichever way the header tells it."""
    try:
        if int(datasets[0].get("NumberOfFrames") or 1) <= 1:
            rows = [(d.ImagePositionPatient, d.ImageOrientationPatient, d.PixelSpacing) for d in datasets]
        else:
            shared = datasets[0].SharedFunctionalGroupsSequence[0]
            rows = [_frame(frame, shared) for frame in datasets[0].PerFrameFunctionalGroupsSequence]
        return Stack(*(np.array([[float(v) for v in row[k]] for row in rows], dtype=np.float64) for k in range(3)))
    except (AttributeError, TypeError, ValueError, IndexError, KeyError):
        what = "position, orientation or pixel spacing is missing in a frame, so the volume has no place in the patient."
        raise DataError("DCM-NO-GEOMETRY", what, "Take the original CT or MR series.") from None


def _frame(frame: Dataset, shared: Dataset) -> tuple[Any, Any, Any]:
    def group(name: str) -> Dataset:
        holder = frame if name in frame else shared
        return holder[name].value[0]  # type: ignore[no-any-return]

    return (
        group("PlanePositionSequence").ImagePositionPatient,
        group("PlaneOrientationSequence").ImageOrientationPatient,
        group("PixelMeasuresSequence").PixelSpacing,
    )


def _check_residual(volume: Any, stack: Stack) -> None:
    """Compare the slice positions with the volume that came out, whoever read it."""
    affine = np.asarray(volume.affine, dtype=np.float64)
    count = len(stack.positions)
    predicted = affine[:3, 3] + np.arange(count)[:, np.newaxis] * affine[:3, 0]
    residual = min(
        float(np.linalg.norm(predicted - positions, axis=1).max()) for positions in (stack.positions, stack.positions[::-1])
    )
    if volume.array.shape[0] != count or residual > 0.5 * min(volume.spacing):
        what = f"slice positions and volume disagree by {residual:.2f} mm; the volume is not used."
        raise DataError("DCM-RESIDUAL", what, "Convert the series with dcm2niix, and report this to the makers of medfl.")


def read_dicom_image(path: Path) -> Volume:
    """Read one DICOM file as a 2-D image.

    MONOCHROME1 is inverted for projection X-ray and for nothing else. Colours become ITU-R 601 luminance.

    Returns
    -------
    Volume
        Array (1, X, Y): columns from left to right, rows from top to bottom.

    Raises
    ------
    DataError
        ``DCM-READ``, ``DCM-SOPCLASS``, ``DCM-FRAMES``, ``DCM-CODEC`` or ``DCM-TRUNCATED``.
    """
    headers = read_headers([path])
    modality = headers[0].text("Modality").upper()
    if modality in NOT_IMAGES:
        raise DataError("DCM-SOPCLASS", "the object is not an image of a patient.", "Use the original image.")
    dataset = load_datasets(headers)[0]
    with quiet():
        try:
            if int(dataset.get("NumberOfFrames") or 1) > 1:
                raise DataError(
                    "DCM-FRAMES", "the object holds several frames.", "Export the frame that is meant as one image."
                )
            rows_first = _grey(dataset, invert=modality in PROJECTION)
        except DataError:
            raise
        except Exception as error:
            problem = _problem(error)
            raise DataError("DCM-TRUNCATED", *_PROBLEMS["DCM-TRUNCATED"]) if problem.code == "DCM-VOLUME" else problem from None
    return Volume(np.ascontiguousarray(rows_first.T)[np.newaxis])


def _grey(dataset: Dataset, *, invert: bool) -> NDArray[np.float32]:
    stored = dataset.pixel_array
    if dataset.get("PhotometricInterpretation") == "PALETTE COLOR":
        stored = apply_color_lut(stored, dataset)  # the stored values are numbers of colours
    if stored.ndim == 3:
        return np.asarray(stored[..., :3] @ LUMINANCE, dtype=np.float32)
    grey = np.asarray(apply_modality_lut(stored, dataset), dtype=np.float32)
    if invert and dataset.get("PhotometricInterpretation") == "MONOCHROME1":
        return np.asarray(grey.max() + grey.min() - grey, dtype=np.float32)
    return grey
