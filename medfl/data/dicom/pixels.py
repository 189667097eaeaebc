"""Reader of grey values of slices and frames, one file at a time, so that a volume is never in memory twice."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.pixels.processing import apply_modality_lut
from pydicom.uid import UID, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from medfl.data.dicom.codecs import check_codec, has_pixels, is_truncated
from medfl.data.dicom.frames import frame_number
from medfl.data.dicom.headers import Header
from medfl.data.dicom.parsing import parse_file
from medfl.data.dicom.stored_values import FrameDecoder
from medfl.data.findings import Finding
from medfl.data.library_output import silence_libraries
from medfl.errors import DataError
from medfl.site import SiteData

_EXPORT_AGAIN = "Export the series again."
_DEFAULTS = SiteData()


def read_dataset(path: Path, settings: SiteData = _DEFAULTS) -> Dataset:
    """Read a whole file whose header was readable before; the pixels stay compressed.

    Parameters
    ----------
    path : Path
        The file.
    settings : SiteData
        The site's `allow_headerless`, whether the file may lack the 128-byte preamble and the transfer syntax, and what
        `medfl.data.dicom.parsing.parse_file` takes.

    Raises
    ------
    DataError
        ``DCM-READ`` when the file has vanished, ``DCM-TRUNCATED`` when it ends within its pixels, ``DCM-CODEC``, and
        ``IMG-LARGE`` or ``DCM-PIXELS`` when it inflates to more than it should.
    """
    with silence_libraries():
        try:
            dataset = parse_file(path, settings, force=settings.allow_headerless)
            if not dataset.file_meta.get("TransferSyntaxUID"):
                dataset.file_meta.TransferSyntaxUID = _guess_transfer_syntax(dataset)
        except (DataError, MemoryError):
            raise
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
    """Return the error for images with missing pixels."""
    what = f"the pixel data of {count} image(s) is shorter than the header says, or damaged (truncated file)."
    return DataError("DCM-TRUNCATED", what, _EXPORT_AGAIN)


def read_grey_values(
    headers: Sequence[Header], warnings: list[Finding] | None = None, *, settings: SiteData = _DEFAULTS
) -> NDArray[np.float32]:
    """Read the grey values of slices or frames of one size, each rescaled by its own header.

    Parameters
    ----------
    headers : sequence of Header
        One for each slice, as `medfl.data.dicom.checks.check_series` returns them.
    warnings : list of Finding, optional
        Receives ``DCM-HIGH-BITS`` when bits above BitsStored were cut off.
    settings : SiteData
        As for `read_dataset`.

    Returns
    -------
    ndarray
        (slices, rows, columns), float32: the values after the modality LUT, CT in Hounsfield units. No VOI LUT (window)
        is applied and nothing is inverted.

    Raises
    ------
    DataError
        ``DCM-READ``, ``DCM-CODEC``; ``DCM-HEADER``, ``DCM-PIXELS`` or ``DCM-COLORSPACE`` for pixels that are not what the
        header says; or ``DCM-TRUNCATED`` with the number of images with missing pixels.
    """
    first = headers[0]
    shape = (len(headers), int(first.text("Rows")), int(first.text("Columns")))
    grey = np.empty(shape, dtype=np.float32)
    indices_by_path: dict[Path, list[int]] = {}
    for index, header in enumerate(headers):
        indices_by_path.setdefault(header.path, []).append(index)
    damaged, with_high_bits = 0, 0
    for path, indices in indices_by_path.items():
        try:
            dataset = read_dataset(path, settings)
            with silence_libraries():
                decoder = open_decoder(dataset)
                for index in indices:
                    stored = decoder.decode(max(frame_number(headers[index]) - 1, 0))
                    grey[index] = apply_rescale(stored, headers[index], dataset, shape[1:])
            with_high_bits += decoder.has_foreign_bits
        except DataError as error:
            if error.code != "DCM-TRUNCATED":
                raise
            damaged += 1
        except MemoryError:
            raise
        except Exception:  # a decoder failed on damaged pixels
            damaged += 1
    if damaged:
        raise truncated_error(damaged)
    if with_high_bits and warnings is not None:
        warnings.append(high_bits_warning(with_high_bits))
    return grey


def open_decoder(dataset: Dataset) -> FrameDecoder:
    """Return a decoder of the frames of an image.

    Raises
    ------
    DataError
        ``DCM-TRUNCATED`` when there are too few pixels, and the codes of `medfl.data.dicom.stored_values.FrameDecoder`.
    """
    if not has_pixels(dataset):
        raise truncated_error(1)
    decoder = FrameDecoder(dataset)  # the length that is expected depends on what it checks
    if is_truncated(dataset):
        raise truncated_error(1)
    return decoder


def high_bits_warning(count: int) -> Finding:
    """Return the warning about images in which bits above BitsStored were cut off (PS3.5 section 8.1.1)."""
    what = f"{count} image(s) hold something in the bits above BitsStored, such as an old overlay; it was cut off."
    fix = "Nothing to do, unless BitsStored is wrong: look at the brightest pixels, and export the original images if so."
    return Finding.warning("DCM-HIGH-BITS", what, fix)


def apply_rescale(
    stored: NDArray[np.generic], header: Header, dataset: Dataset, shape: tuple[int, ...]
) -> NDArray[np.float64] | NDArray[np.generic]:
    """Return the stored values of a slice, of the given shape, after the modality LUT of its header (PS3.3 C.11.1)."""
    if stored.shape != shape:
        raise truncated_error(1)
    if dataset.get("ModalityLUTSequence"):
        return np.asarray(apply_modality_lut(stored, dataset))
    slope, intercept = rescale_parameters(header)
    if slope == 1 and intercept == 0:
        return stored
    return np.asarray(stored.astype(np.float64) * slope + intercept)  # numpy cannot add a negative int to uint16


def rescale_parameters(header: Header) -> tuple[float, float]:
    """Return RescaleSlope and RescaleIntercept of a slice or frame.

    Raises
    ------
    DataError
        ``DCM-RESCALE`` when one is not a usable number.
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
    """Check that stored values are in the lowest bits: decoders ignore a HighBit that says otherwise.

    Raises
    ------
    DataError
        ``DCM-HEADER``.
    """
    stored, high = header.text("BitsStored"), header.text("HighBit")
    if stored and high and int(high) != int(stored) - 1:
        what = "HighBit says that the grey values are not in the lowest bits, where they must be (PS3.5 section 8.1.1)."
        raise DataError("DCM-HEADER", what, "Let the PACS convert the images, or leave them out.")
