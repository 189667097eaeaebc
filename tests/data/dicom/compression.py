"""Encoders of single frames whose bits, sign and colours need not be those of the header, as archives hold them."""

from __future__ import annotations

from base64 import b85decode
from io import BytesIO
from typing import Any

import jpeg_ls
import numpy as np
import openjpeg.utils
import pydicom
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.pixels.encoders import RLELosslessEncoder
from pydicom.uid import JPEG2000, UID, JPEG2000Lossless, JPEGBaseline8Bit, JPEGLosslessSV1, JPEGLSLossless, RLELossless

Codes = NDArray[np.uint16]


def encode_rle(codes: Codes, bits: int = 16) -> tuple[UID, bytes]:
    frame = RLELosslessEncoder.encode(
        codes.tobytes(),
        rows=codes.shape[0],
        columns=codes.shape[1],
        samples_per_pixel=1,
        number_of_frames=1,
        bits_allocated=8 * codes.dtype.itemsize,
        bits_stored=8 * codes.dtype.itemsize,
        pixel_representation=0,
        photometric_interpretation="MONOCHROME2",
    )
    return RLELossless, bytes(frame)


def encode_jpeg_ls(codes: Codes, bits: int = 16) -> tuple[UID, bytes]:
    frame = jpeg_ls.encode_buffer(codes.tobytes(), *codes.shape, 1, bits)
    return JPEGLSLossless, bytes(frame)


def encode_jpeg2000(codes: NDArray[Any], bits: int = 16, **options: Any) -> tuple[UID, bytes]:
    syntax = JPEG2000 if "compression_ratios" in options else JPEG2000Lossless
    return syntax, bytes(openjpeg.utils.encode_array(codes, bits_stored=bits, **options))


def encode_jpeg_lossless(codes: Codes, bits: int = 16) -> tuple[UID, bytes]:
    """Encode by prediction from the left (ISO/IEC 10918-1 annex H), with codes of five bits for all categories."""
    rows, columns = codes.shape
    values = codes.astype(np.int64)
    predicted = np.empty_like(values)
    predicted[:, 1:], predicted[1:, 0], predicted[0, 0] = values[:, :-1], values[:-1, 0], 1 << (bits - 1)
    stream = []
    for difference in ((values - predicted).ravel() + (1 << 15)) % (1 << 16) - (1 << 15):
        size = int(abs(difference)).bit_length()
        low = difference if difference >= 0 else difference + (1 << size) - 1
        stream.append(f"{size:05b}" + (f"{low:0{size}b}" if 0 < size < 16 else ""))
    text = "".join(stream)
    text += "1" * (-len(text) % 8)
    data = int(text, 2).to_bytes(len(text) // 8, "big").replace(b"\xff", b"\xff\0")
    size = bytes([bits]) + rows.to_bytes(2, "big") + columns.to_bytes(2, "big")
    table = bytes([0, *(17 if length == 5 else 0 for length in range(1, 17)), *range(17)])
    parts = [(0xC3, size + bytes([1, 1, 0x11, 0])), (0xC4, table), (0xDA, bytes([1, 1, 0, 1, 0, 0]))]
    header = b"".join(bytes([0xFF, marker]) + (len(part) + 2).to_bytes(2, "big") + part for marker, part in parts)
    return JPEGLosslessSV1, b"\xff\xd8" + header + data + b"\xff\xd9"


def encode_jpeg(pixels: NDArray[np.uint8], drop_markers: bool = False, **options: Any) -> tuple[UID, bytes]:
    """Encode 8 bits with loss; without the JFIF and Adobe markers if asked for, as DICOM writers do."""
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=100, **options)
    frame = buffer.getvalue()
    while drop_markers and frame[2:4] in (b"\xff\xe0", b"\xff\xee"):
        frame = frame[:2] + frame[4 + int.from_bytes(frame[4:6], "big") :]
    return JPEGBaseline8Bit, frame


# No package here encodes High-Throughput JPEG 2000: 32 x 32 pixels, 500 times the row modulo 8, with bit 12 set in the
# rows from 8 to 15
HTJ2K_FRAME = b85decode(
    "|4;u>04YEK0000W0000W00000000000000W0000W0000000000009pH0sl|{2mk^A000XAQUDA90ssL31q1{@0smY86Cj9?kdTm&kdTm&kdTmw"
    "h=~7W02crOPjF>!N>E53R%LP^FfKASE;BCwkN^q*00001Q~&}0lfVEb!RiGEbO4|L2|&UF2Xp|S01BWMyWAGL+yTI}0H6R1q5xsQ7K8z|APm@o"
    "FklO84q>u6gvsU*CYwW;{s0;=fEKp^pa2Wm0PA&K*L7VLfaFjBl0yMV4h0}N6oBMV0FpxiNDc)cIp&9CoF9^Len`goAsOd~WSk$8aehd~`5_tS"
    "0~zN78Rr8T=K~q%0~zN78Rr8T=K~o40MG+N7yyDXfDC?0Y2>F;0iXaE(jedO`@Zk{zVG|K@B2Kz=X<{Ad%ov;zUO<s=X<{Ad%ov;zUO<s=RNOv"
    "&wJkUp7*@xJ@0wXd*1V&H{ZN@^XAQ)H*em&dGqGYn>YFZAprO6gahBQ5D$LHKs}ZK0Am5~*^CFjW-uQ8n8151008F$-?N+#e$H?``#He&SO5S*"
    "2ftwm9{q$Md-f24?6m~{*#"
)
LOSSLESS = {
    "RLE": encode_rle,
    "JPEG lossless": encode_jpeg_lossless,
    "JPEG-LS": encode_jpeg_ls,
    "JPEG 2000": encode_jpeg2000,
}


def put_frame(ds: Dataset, encoded: tuple[UID, bytes]) -> None:
    """Make a compressed frame the pixels of an image."""
    syntax, frame = encoded
    ds.file_meta.TransferSyntaxUID = syntax
    ds.PixelData = encapsulate([frame + bytes(len(frame) % 2)])
    ds["PixelData"].VR, ds["PixelData"].is_undefined_length = "OB", True


def put_native(ds: Dataset, codes: NDArray[Any]) -> None:
    """Make uncompressed values the pixels of an image."""
    ds.PixelData, ds["PixelData"].VR = codes.tobytes(), "OW"
    ds.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
