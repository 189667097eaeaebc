"""2-D masks saved as DICOM images."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from pydicom.encaps import encapsulate
from pydicom.uid import DigitalXRayImageStorageForPresentation, JPEGBaseline8Bit, SecondaryCaptureImageStorage

from medfl.data.cases import Source
from medfl.data.labels import read_mask
from medfl.data.volume import Volume
from medfl.errors import DataError
from tests.data.dicom.phantom import new_object


@pytest.fixture
def read_mask_of(tmp_path: Path, make_study: Any, make_site: Any) -> Any:
    """Return a function that reads a 2-D mask that was saved as a DICOM image."""

    def read(
        stored: NDArray[Any],
        sop_class: Any = DigitalXRayImageStorageForPresentation,
        data: Any = (),
        syntax: Any = None,
        **values: Any,
    ) -> NDArray[np.uint8]:
        ds = new_object(sop_class)
        ds.Modality, ds.Rows, ds.Columns, ds.PixelData = "DX", *stored.shape[:2], stored.tobytes()
        ds.BitsAllocated, ds.BitsStored, ds.HighBit = 8, 8, 7
        for keyword, value in values.items():
            setattr(ds, keyword, value)
        if syntax is not None:
            ds.file_meta.TransferSyntaxUID = syntax
        ds.save_as(tmp_path / "mask.dcm", enforce_file_format=True)
        image = Volume(np.zeros((1, *stored.shape[1::-1]), dtype=np.float32))
        study = make_study(task__dimension=2, task__modality="XR")
        label, image_source = Source("dicom", (tmp_path / "mask.dcm",)), Source("dicom", (tmp_path / "image.dcm",))
        return read_mask(label, image, image_source, study, make_site(tmp_path, **dict(data)))

    return read


def test_a_dicom_mask_is_read_as_stored(read_mask_of: Any) -> None:
    stored = np.zeros((20, 30), dtype=np.uint8)
    stored[3:6, 10:16] = 1
    expected = stored.T
    np.testing.assert_array_equal(read_mask_of(stored, PhotometricInterpretation="MONOCHROME1"), expected)  # not inverted
    np.testing.assert_array_equal(read_mask_of(stored, RescaleSlope="2", RescaleIntercept="-1"), expected)
    # nor checked for burned-in names
    np.testing.assert_array_equal(read_mask_of(255 * stored, SecondaryCaptureImageStorage), expected)
    grey = np.repeat(stored[..., np.newaxis], 3, axis=2)
    colours: dict[str, Any] = {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB", "PlanarConfiguration": 0}
    np.testing.assert_array_equal(read_mask_of(grey, **colours), expected)
    grey[0, 0] = 0, 1, 0
    with pytest.raises(DataError, match="LBL-COLOR"):
        read_mask_of(grey, **colours)
    with pytest.raises(DataError, match=r"LBL-VALUES.*values 0, 7"):
        read_mask_of(7 * stored)
    with pytest.raises(DataError, match="DCM-TRUNCATED"):
        read_mask_of(stored, PixelData=bytes(80))


def palette(*colours: tuple[int, int, int], factor: int = 257) -> dict[str, Any]:
    """Return the attributes of a mask with a table of colours."""
    values: dict[str, Any] = {"PhotometricInterpretation": "PALETTE COLOR"}
    for channel, name in enumerate(("Red", "Green", "Blue")):
        values[f"{name}PaletteColorLookupTableDescriptor"] = [len(colours), 0, 16]
        values[f"{name}PaletteColorLookupTableData"] = np.array([c[channel] * factor for c in colours], "<u2").tobytes()
    return values


def test_a_table_of_colours_means_in_dicom_what_it_means_elsewhere(read_mask_of: Any) -> None:
    form = np.zeros((20, 30), dtype=np.uint8)
    form[3:6, 10:16] = 1
    black, white, red, blue = (0, 0, 0), (255, 255, 255), (255, 0, 0), (3, 4, 200)
    for table in ((black, white), (black, red), (black, blue)):
        for factor in (257, 256):  # two ways to write eight bits in sixteen
            np.testing.assert_array_equal(read_mask_of(form, **palette(*table, factor=factor)), form.T)
    voc = [black, (128, 0, 0), (0, 128, 0), (128, 128, 0)]  # in a study of two classes, 2 is none
    with pytest.raises(DataError, match=r"LBL-VALUES.*0, 2"):
        read_mask_of(form * 2, **palette(*voc, factor=256))
    np.testing.assert_array_equal(read_mask_of(1 - form, **palette(white, black)), form.T)
    with pytest.raises(DataError, match="LBL-PALETTE"):
        read_mask_of(1 - form, **palette(red, black))
    np.testing.assert_array_equal(read_mask_of(form, **palette(red, black), data={"mask_values": "stored"}), form.T)


def test_black_and_white_that_may_be_inverted_is_refused(read_mask_of: Any) -> None:
    form = np.zeros((20, 30), dtype=np.uint8)
    form[3:6, 10:16] = 255
    np.testing.assert_array_equal(read_mask_of(form), form.T // 255)
    one, two, three = form // 255, form.astype("<u2"), form.astype("<i2")
    deep = {"BitsAllocated": 16, "BitsStored": 16, "HighBit": 15}
    few = {"BitsAllocated": 16, "BitsStored": 12, "HighBit": 11}
    for stored, header in (
        (form, {}),
        (one, {"BitsStored": 1, "HighBit": 0}),
        (one * 0, {"BitsStored": 1, "HighBit": 0}),
        (two, deep),
        (two * 257, deep),
        (two, few),
        (two // 255 * 4095, few),
        (three, {**deep, "PixelRepresentation": 1}),
        (three // 255 * 32767, {**deep, "PixelRepresentation": 1}),
    ):
        values: dict[str, Any] = {**header, "PhotometricInterpretation": "MONOCHROME1"}
        with pytest.raises(DataError, match=r"LBL-PALETTE.*MONOCHROME1"):
            read_mask_of(stored, **values)
        np.testing.assert_array_equal(read_mask_of(stored, data={"mask_values": "shown"}, **values), stored.T == 0)
        if stored.max() in (1, 255):
            np.testing.assert_array_equal(read_mask_of(stored, data={"mask_values": "stored"}, **values), one.T)
    with pytest.raises(DataError, match="LBL-PALETTE"):
        read_mask_of(one + one[:, ::-1] * 2, PhotometricInterpretation="MONOCHROME1", data={"mask_values": "shown"})


def test_a_mask_compressed_with_loss_is_refused(read_mask_of: Any) -> None:
    form = np.zeros((20, 30), dtype=np.uint8)
    form[3:6, 10:16] = 1
    buffer = BytesIO()
    Image.fromarray(form * 3).save(buffer, format="JPEG", quality=95)
    with pytest.raises(DataError, match="LBL-LOSSY"):
        read_mask_of(form, syntax=JPEGBaseline8Bit, PixelData=encapsulate([buffer.getvalue()]))
