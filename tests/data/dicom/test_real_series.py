"""Series of real scanners, which lie outside of the repository."""

from __future__ import annotations

from pathlib import Path

import nibabel
import nibabel.orientations as axes
import numpy as np
import pydicom
import pytest

from medfl.data.dicom.image import read_dicom_image
from medfl.data.dicom.resample_stack import AIR_HU
from medfl.data.dicom.series import read_series
from medfl.data.volume import LPS_TO_RAS, corner_distance
from medfl.errors import DataError
from medfl.site import SiteData

pytestmark = pytest.mark.realdata
ANY = SiteData(min_slices=1)
MEND = SiteData(min_slices=1, gantry_tilt="resample", nonuniform="resample")
GE = "ct-ge-gantry-tilt-variable-gap"
TILTED = "geometry/failing/gantrytilting/001"


def files(real_data: Path, folder: str) -> list[Path]:
    return sorted((real_data / "dicom" / folder).glob("*.dcm"))


def test_vendors_series_lie_where_the_reference_says(real_data: Path) -> None:
    compared = 0
    for reference in sorted((real_data / "dicom" / "geometry").rglob("*_ground_truth.nii.gz")):
        folder = reference.with_name(reference.name.removesuffix("_ground_truth.nii.gz"))
        if "rgb" in reference.parts or not folder.is_dir():
            continue
        volume = read_series(sorted(folder.glob("*.dcm")), ANY)
        truth = nibabel.load(reference)
        turn = axes.ornt_transform(axes.io_orientation(truth.affine), axes.io_orientation(volume.affine))
        affine = truth.affine @ axes.inv_ornt_aff(turn, truth.shape)
        assert corner_distance(affine, volume.affine, volume.shape) < 1e-3
        np.testing.assert_allclose(axes.apply_orientation(truth.get_fdata(), turn), volume.array[0], atol=1e-5)
        compared += 1
    assert compared >= 7


@pytest.mark.parametrize(
    ("folder", "code", "says"),
    [
        (GE, "DCM-SPACING", "1.08 to 7 mm"),
        (TILTED, "DCM-GANTRY-TILT", "14.0 degrees"),
        ("geometry/failing/sliceincrement/001", "DCM-SPACING", "5 to 10 mm"),
        ("geometry/generic/rgb/001", "DCM-COLOR", "colour"),
        ("geometry/siemens/fmri/001", "DCM-MOSAIC", "mosaics"),
    ],
)
def test_real_series_that_are_no_volume_are_refused(real_data: Path, folder: str, code: str, says: str) -> None:
    with pytest.raises(DataError) as caught:
        read_series(files(real_data, folder), ANY)
    assert caught.value.code == code
    assert says in str(caught.value)


def test_a_tilt_is_told_when_uneven_distances_are_allowed(real_data: Path) -> None:
    with pytest.raises(DataError, match=r"DCM-GANTRY-TILT.*18\.5 degrees"):
        read_series(files(real_data, GE), SiteData(nonuniform="resample"))


@pytest.mark.parametrize("folder", [GE, TILTED, "geometry/failing/sliceincrement/001"])
def test_slices_that_were_mended_show_what_was_scanned_where_it_was(real_data: Path, folder: str) -> None:
    """At the height of each acquired slice and in its own pixels, the volume must hold what the slice holds."""
    volume = read_series(files(real_data, folder), MEND)
    assert volume.acquired_geometry is not None
    to_index = np.linalg.inv(LPS_TO_RAS @ volume.affine)
    met = 0
    for path in files(real_data, folder):
        ds = pydicom.dcmread(path)
        stored = ds.pixel_array * float(ds.RescaleSlope) + float(ds.RescaleIntercept)
        corner = to_index @ [*(float(v) for v in ds.ImagePositionPatient), 1]
        i, j, k = corner[:3]
        if abs(k - round(k)) > 1e-3:
            continue  # no plane of the volume lies there
        plane = volume.array[0, :, :, round(k)].T
        first = int(np.ceil(j - 1e-6))
        part = first - j
        expected = stored[:-1] * (1 - part) + stored[1:] * part
        found = plane[first : first + len(expected), round(i) : round(i) + stored.shape[1]]
        np.testing.assert_allclose(found, expected, atol=0.01 * np.ptp(stored))
        assert abs(i - round(i)) < 1e-3
        met += 1
    assert met >= 3


def test_a_straightened_head_is_surrounded_by_air(real_data: Path) -> None:
    volume = read_series(files(real_data, GE), MEND)
    assert {warning.code for warning in volume.warnings} == {"DCM-STRAIGHTENED", "DCM-RESAMPLED"}
    assert 0.05 < (volume.array == AIR_HU).mean() < 0.25  # the corners that no slice reached
    assert volume.spacing[2] == pytest.approx(4.0, abs=0.01)


def test_enhanced_multi_frame_is_read(real_data: Path) -> None:
    volume = read_series(files(real_data, "geometry/philips_enhanced/anatomical/001"))
    assert volume.shape == (256, 256, 8)


def test_nine_encodings_decode_to_the_same_pixels(real_data: Path) -> None:
    images = [read_dicom_image(path).array for path in files(real_data, "mr-siemens-nine-encodings")]
    assert len(images) == 9
    assert all((image == images[0]).all() for image in images)
