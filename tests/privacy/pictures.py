"""A hospital of 2-D pictures whose text chunks, EXIF, names and pixels that no decoder reads hold the mark."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import DigitalXRayImageStorageForPresentation, generate_uid

EXIF_TEXTS = (0x010E, 0x013B, 0x8298, 0x9C9B)  # ImageDescription, Artist, Copyright, XPTitle
SYNTAXES = {  # of pixel data that is compressed, each with another decoder behind it
    "jpeg": "1.2.840.10008.1.2.4.50",
    "lossless": "1.2.840.10008.1.2.4.70",
    "jpeg-ls": "1.2.840.10008.1.2.4.80",
    "jpeg-2000": "1.2.840.10008.1.2.4.90",
    "htj2k": "1.2.840.10008.1.2.4.201",
    "rle": "1.2.840.10008.1.2.5",
}
STARTS = {
    "jpeg": b"\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01",
    "lossless": b"\xff\xd8\xff\xc3\x00\x0b\x08\x00\x20\x00\x20\x01\x01\x11\x00",
    "jpeg-ls": b"\xff\xd8\xff\xf7\x00\x0b\x08\x00\x20\x00\x20\x01\x01\x11\x00",
    "jpeg-2000": b"\xff\x4f\xff\x51\x00\x29\x00\x00\x00\x00\x00\x20\x00\x00\x00\x20",
    "htj2k": b"\xff\x4f\xff\x51\x00\x29\x40\x00\x00\x00\x00\x20\x00\x00\x00\x20",
    "rle": b"\x01\x00\x00\x00\x40\x00\x00\x00" + bytes(56),
}


def pixels(number: int) -> np.ndarray:
    """Return a picture of 32 x 32 random grey values."""
    return np.random.default_rng(number).integers(0, 255, (32, 32)).astype(np.uint8)


def write_png(path: Path, number: int, mark: str) -> Path:
    """Write a PNG with all three kinds of text chunks."""
    texts = PngInfo()
    texts.add_text("Author", f"{mark} author")
    texts.add_text("Comment", f"{mark} comment", zip=True)
    texts.add_itxt("Title", f"{mark} title")
    Image.fromarray(pixels(number)).save(path, pnginfo=texts)
    return path


def write_jpeg(path: Path, number: int, mark: str) -> Path:
    """Write a JPEG with EXIF and a comment."""
    exif = Image.Exif()
    for tag in EXIF_TEXTS:
        exif[tag] = f"{mark} exif".encode("utf-16-le") if tag == 0x9C9B else f"{mark} exif"
    Image.fromarray(pixels(number)).save(path, exif=exif, comment=f"{mark} comment", quality=95)
    return path


def write_compressed(path: Path, number: int, mark: str, kind: str = "") -> Path:
    """Write an X-ray, with pixels that start like `kind` and then hold nothing but the mark."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = DigitalXRayImageStorageForPresentation, generate_uid()
    meta.TransferSyntaxUID = SYNTAXES[kind]
    ds = FileDataset("", {}, file_meta=meta, preamble=bytes(128))
    ds.SOPClassUID, ds.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    ds.StudyInstanceUID = ds.SeriesInstanceUID = generate_uid()
    ds.PatientID = ds.PatientName = ds.SeriesDescription = f"{mark} {kind} {number}"
    ds.Modality, ds.ImageType, ds.BurnedInAnnotation = "DX", ["ORIGINAL", "PRIMARY"], "NO"
    ds.Rows, ds.Columns, ds.SamplesPerPixel, ds.PhotometricInterpretation = 32, 32, 1, "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 8, 8, 7, 0
    ds.PixelData = encapsulate([STARTS[kind] + f"{mark} pixels ".encode() * 8])
    ds["PixelData"].is_undefined_length = True
    ds.save_as(path, enforce_file_format=True)
    return path


def fill(data: Path, mark: str, name: str) -> None:
    """Write good and broken pictures and the index that lists them; one is of an unknown class of the given name."""
    rows = [f"image,label,patient,{mark}"]

    def listed(path: Path, label: str) -> None:
        rows.append(f"{path.relative_to(data)},{label},{mark} {len(rows)},{mark} note")

    for number in range(8):
        place = data / f"{mark}_{number}"
        place.mkdir(parents=True)
        write = write_png if number % 2 else write_jpeg
        listed(write(place / f"{mark}.{'png' if number % 2 else 'jpg'}", number, mark), "clear" if number % 4 < 2 else "nodule")
    png, jpeg = write_png(data / f"{mark}_a.png", 20, mark), write_jpeg(data / f"{mark}_b.jpg", 21, mark)
    for path in (png, jpeg):
        path.write_bytes(path.read_bytes()[:-300])
        listed(path, "clear")
    broken = write_png(data / f"{mark}_c.png", 22, mark)
    broken.write_bytes(broken.read_bytes().replace(b"IDAT", b"ZQXC"))
    listed(broken, "clear")
    text = data / f"{mark}_d.png"
    text.write_text(f"{mark} is no picture")
    listed(text, "clear")
    for kind in SYNTAXES:
        listed(write_compressed(data / f"{mark}_{kind}.dcm", 23, mark, kind), "nodule")
    listed(write_png(data / f"{mark}_e.png", 24, mark), name)
    (data / "index.csv").write_text("\n".join(rows))
