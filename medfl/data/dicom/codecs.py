"""Check that pydicom can decode the pixels of a DICOM file, with the transfer syntaxes in plain words."""

from __future__ import annotations

from pydicom.dataset import Dataset
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.utils import get_expected_length
from pydicom.uid import UID, JPEGExtended12Bit

from medfl.errors import DataError

# transfer syntaxes of PS3.6 table A-1, named as in PS3.5 section 10
TRANSFER_SYNTAX_NAMES = {
    "1.2.840.10008.1.2.1.99": "deflated",
    "1.2.840.10008.1.2.4.50": "JPEG Baseline (8 bit)",
    "1.2.840.10008.1.2.4.51": "JPEG Extended (12 bit)",
    "1.2.840.10008.1.2.4.57": "JPEG Lossless",
    "1.2.840.10008.1.2.4.70": "JPEG Lossless (first order)",
    "1.2.840.10008.1.2.4.80": "JPEG-LS Lossless",
    "1.2.840.10008.1.2.4.81": "JPEG-LS Near-lossless",
    "1.2.840.10008.1.2.4.90": "JPEG 2000 Lossless",
    "1.2.840.10008.1.2.4.91": "JPEG 2000",
    "1.2.840.10008.1.2.4.92": "JPEG 2000 multi-component Lossless",
    "1.2.840.10008.1.2.4.93": "JPEG 2000 multi-component",
    "1.2.840.10008.1.2.4.94": "JPIP (pixels kept on a server)",
    "1.2.840.10008.1.2.4.95": "JPIP (pixels kept on a server)",
    "1.2.840.10008.1.2.4.100": "MPEG-2 video",
    "1.2.840.10008.1.2.4.101": "MPEG-2 video",
    "1.2.840.10008.1.2.4.102": "MPEG-4 video",
    "1.2.840.10008.1.2.4.103": "MPEG-4 video",
    "1.2.840.10008.1.2.4.104": "MPEG-4 video",
    "1.2.840.10008.1.2.4.105": "MPEG-4 video",
    "1.2.840.10008.1.2.4.106": "MPEG-4 video",
    "1.2.840.10008.1.2.4.107": "HEVC video",
    "1.2.840.10008.1.2.4.108": "HEVC video",
    "1.2.840.10008.1.2.4.110": "JPEG XL Lossless",
    "1.2.840.10008.1.2.4.111": "JPEG XL (recompressed JPEG)",
    "1.2.840.10008.1.2.4.112": "JPEG XL",
    "1.2.840.10008.1.2.4.201": "High-Throughput JPEG 2000 Lossless",
    "1.2.840.10008.1.2.4.202": "High-Throughput JPEG 2000 Lossless",
    "1.2.840.10008.1.2.4.203": "High-Throughput JPEG 2000",
    "1.2.840.10008.1.2.5": "RLE Lossless",
}
_GPL_PLUGIN = "pylibjpeg"  # pydicom's name of the plugin whose 12-bit decoder is libjpeg, under GPL-3.0


def check_codec(dataset: Dataset) -> None:
    """Check that a decoder for the pixels of a file is installed.

    Raises
    ------
    DataError
        ``DCM-CODEC``, with the name of the transfer syntax.
    """
    syntax = UID(str(dataset.file_meta.TransferSyntaxUID))
    if syntax.is_transfer_syntax and not syntax.is_private and not syntax.is_encapsulated:
        return
    if not _is_decodable(syntax, dataset):
        name = TRANSFER_SYNTAX_NAMES.get(syntax, "a private or unknown transfer syntax")
        what = f"the images are compressed as '{name}', which no installed decoder can read."
        needs_gpl = syntax == JPEGExtended12Bit
        fix = "Install 'flwr-medfl[dicom-gpl]' (GPL-3.0) or let the PACS" if needs_gpl else "Let the PACS"
        raise DataError("DCM-CODEC", what, f"{fix} send uncompressed images.")


def _is_decodable(syntax: UID, dataset: Dataset) -> bool:
    try:
        decoder = get_decoder(syntax)
    except NotImplementedError:
        return False
    if syntax == JPEGExtended12Bit and int(dataset.get("BitsStored") or 0) != 8:
        return _GPL_PLUGIN in decoder.available_plugins  # the others report themselves available, but decode 8 bits only
    return bool(decoder.is_available)


def has_pixels(dataset: Dataset) -> bool:
    """Return whether a file has pixels at all."""
    return any(dataset.get(keyword) for keyword in ("PixelData", "FloatPixelData", "DoubleFloatPixelData"))


def is_truncated(dataset: Dataset) -> bool:
    """Return whether there are fewer pixels than the header says, or for compressed pixels, none at all."""
    if not has_pixels(dataset):
        return True
    pixels = dataset.get("PixelData")
    if not pixels:  # in floating point
        return False
    if dataset.file_meta.TransferSyntaxUID.is_compressed:  # decoding will show it
        return False
    expected: int = get_expected_length(dataset)
    return len(pixels) < expected
