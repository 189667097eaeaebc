"""2-D masks saved as DICOM images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom.uid import DigitalXRayImageStorageForPresentation, SecondaryCaptureImageStorage

from medfl.data.cases import Source
from medfl.data.labels import read_mask
from medfl.data.volume import Volume
from medfl.errors import DataError
from tests.data.dicom.phantom import new_object


@pytest.fixture
def read_mask_of(tmp_path: Path, make_study: Any, make_site: Any) -> Any:
    """Return a function that reads a 2-D mask that was saved as a DICOM image."""

    def read(stored: NDArray[Any], sop_class: Any = DigitalXRayImageStorageForPresentation, **values: Any) -> NDArray[np.uint8]:
        ds = new_object(sop_class)
        ds.Modality, ds.Rows, ds.Columns, ds.PixelData = "DX", *stored.shape[:2], stored.tobytes()
        ds.BitsAllocated, ds.BitsStored, ds.HighBit = 8, 8, 7
        for keyword, value in values.items():
            setattr(ds, keyword, value)
        ds.save_as(tmp_path / "mask.dcm", enforce_file_format=True)
        image = Volume(np.zeros((1, *stored.shape[1::-1]), dtype=np.float32))
        study = make_study(task__dimension=2, task__modality="XR")
        label, image_source = Source("dicom", (tmp_path / "mask.dcm",)), Source("dicom", (tmp_path / "image.dcm",))
        return read_mask(label, image, image_source, study, make_site(tmp_path))

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
