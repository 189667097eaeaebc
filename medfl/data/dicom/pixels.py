"""Reading grey values of slices and frames, one file at a time: a volume is never in memory twice."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.pixels.processing import apply_modality_lut
from pydicom.pixels.utils import iter_pixels
from pydicom.uid import UID, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from medfl.data.dicom.codecs import check_codec, is_truncated
from medfl.data.dicom.frames import frame_number
from medfl.data.dicom.headers import Header
from medfl.data.library_output import silence_libraries
from medfl.errors import DataError

_EXPORT_AGAIN = "Export the series again."


def read_dataset(path: Path, *, force: bool = False) -> Dataset:
    """Read a whole file, whose header was readable before; the pixels stay compressed.

    Parameters
    ----------
    path : Path
        The file.
    force : bool
        Whether it may lack the 128-byte preamble and the header that tells the transfer syntax.

    Raises
    ------
    DataError
        ``DCM-READ`` when it went away, ``DCM-TRUNCATED`` when it ends within its pixels, ``DCM-CODEC``.
    """
    with silence_libraries():
        try:
            dataset = pydicom.dcmread(path, force=force)
            if not dataset.file_meta.get("TransferSyntaxUID"):
                dataset.file_meta.TransferSyntaxUID = _guess_transfer_syntax(dataset)
        except OSError:
            raise DataError("DCM-READ", "a file of the series cannot be read.", _EXPORT_AGAIN) from None
        except Exception:
            raise truncated_error(1) from None
        check_codec(dataset)
    return dataset


def _guess_transfer_syntax(dataset: Dataset) -> UID:
    implicit, little = dataset.original_encoding
    if implicit:
        return ImplicitVRLittleEndian
    return ExplicitVRLittleEndian if little else ExplicitVRBigEndian


def truncated_error(count: int) -> DataError:
    """Return the error about images whose pixels are not all there."""
    what = f"the pixel data of {count} image(s) is shorter than the header says, or damaged (cut file)."
    return DataError("DCM-TRUNCATED", what, _EXPORT_AGAIN)


def read_grey_values(headers: Sequence[Header], *, force: bool = False) -> NDArray[np.float32]:
    """Read the grey values of slices or frames of one size, each on the scale that its own header tells.

    Parameters
    ----------
    headers : sequence of Header
        One for each slice, as `medfl.data.dicom.checks.check_series` returns them.
    force : bool
        Whether files may lack their preamble.

    Returns
    -------
    ndarray
        (slices, rows, columns), float32: the values after the modality transform, CT in Hounsfield units. No window (VOI)
        is applied and nothing is inverted.

    Raises
    ------
    DataError
        ``DCM-READ``, ``DCM-CODEC``, or ``DCM-TRUNCATED`` with the number of images whose pixels are not all there.
    """
    first = headers[0]
    shape = (len(headers), int(first.text("Rows")), int(first.text("Columns")))
    grey = np.empty(shape, dtype=np.float32)
    places: dict[Path, list[int]] = {}
    for place, header in enumerate(headers):
        places.setdefault(header.path, []).append(place)
    damaged = 0
    for path, own in places.items():
        try:
            dataset = read_dataset(path, force=force)
            with silence_libraries():
                for place, stored in zip(own, _decode_frames(dataset, [headers[place] for place in own]), strict=True):
                    grey[place] = apply_rescale(stored, headers[place], dataset, shape[1:])
        except DataError as error:
            if error.code != "DCM-TRUNCATED":
                raise
            damaged += 1
        except MemoryError:
            raise
        except Exception:  # a decoder met bytes that are no image
            damaged += 1
    if damaged:
        raise truncated_error(damaged)
    return grey


def _decode_frames(dataset: Dataset, headers: Sequence[Header]) -> Iterator[NDArray[np.generic]]:
    if is_truncated(dataset):
        raise truncated_error(1)
    numbers = [frame_number(header) for header in headers]
    yield from iter_pixels(dataset, indices=[number - 1 for number in numbers] if numbers[0] else None)


def apply_rescale(
    stored: NDArray[np.generic], header: Header, dataset: Dataset, shape: tuple[int, ...]
) -> NDArray[np.float64] | NDArray[np.generic]:
    """Return stored values, of which `shape` are expected, after the modality transform that the header of the slice tells."""
    if stored.shape != shape:
        raise truncated_error(1)
    if dataset.get("ModalityLUTSequence"):
        return np.asarray(apply_modality_lut(stored, dataset))
    slope, intercept = rescale_parameters(header)
    if slope == 1 and intercept == 0:
        return stored
    return np.asarray(stored.astype(np.float64) * slope + intercept)  # numpy would refuse uint16 and a negative whole number


def rescale_parameters(header: Header) -> tuple[float, float]:
    """Return slope and intercept of the grey values of a slice or frame.

    Raises
    ------
    DataError
        ``DCM-RESCALE`` when one is no usable number.
    """
    try:
        (slope,) = header.numbers("RescaleSlope") or (1.0,)
        (intercept,) = header.numbers("RescaleIntercept") or (0.0,)
    except ValueError:
        slope = intercept = np.nan
    if not np.isfinite([slope, intercept]).all() or slope == 0:
        raise DataError("DCM-RESCALE", "RescaleSlope or RescaleIntercept is damaged.", "Export the original series.")
    return slope, intercept


def check_bits(header: Header) -> None:
    """Check that stored values lie in the lowest bits: decoders ignore where else a header says they do.

    Raises
    ------
    DataError
        ``DCM-HEADER``.
    """
    stored, high = header.text("BitsStored"), header.text("HighBit")
    if stored and high and int(high) != int(stored) - 1:
        what = "HighBit says that the grey values do not lie in the lowest bits, as they must (PS3.5 section 8.1.1)."
        raise DataError("DCM-HEADER", what, "Have the images converted by the PACS, or leave them out.")
