"""Series of real scanners, which are not in the repository."""

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
RESAMPLE = SiteData(min_slices=1, gantry_tilt="resample", nonuniform="resample")
GE = "ct-ge-gantry-tilt-variable-gap"
TILTED = "geometry/failing/gantrytilting/001"


def files(real_data: Path, folder: str) -> list[Path]:
    return sorted((real_data / "dicom" / folder).glob("*.dcm"))


def test_series_of_vendors_have_the_geometry_of_their_reference(real_data: Path) -> None:
    compared = 0
    for reference in sorted((real_data / "dicom" / "geometry").rglob("*_ground_truth.nii.gz")):
        folder = reference.with_name(reference.name.removesuffix("_ground_truth.nii.gz"))
        if "rgb" in reference.parts or not folder.is_dir():
            continue
        volume = read_series(sorted(folder.glob("*.dcm")), ANY)
        reference_image = nibabel.load(reference)
        reorientation = axes.ornt_transform(axes.io_orientation(reference_image.affine), axes.io_orientation(volume.affine))
        affine = reference_image.affine @ axes.inv_ornt_aff(reorientation, reference_image.shape)
        assert corner_distance(affine, volume.affine, volume.shape) < 1e-3
        np.testing.assert_allclose(
            axes.apply_orientation(reference_image.get_fdata(), reorientation), volume.array[0], atol=1e-5
        )
        compared += 1
    assert compared >= 7


@pytest.mark.parametrize(
    ("folder", "code", "message"),
    [
        (GE, "DCM-SPACING", "1.08 to 7 mm"),
        (TILTED, "DCM-GANTRY-TILT", "14.0 degrees"),
        ("geometry/failing/sliceincrement/001", "DCM-SPACING", "5 to 10 mm"),
        ("geometry/generic/rgb/001", "DCM-COLOR", "colour"),
        ("geometry/siemens/fmri/001", "DCM-MOSAIC", "mosaics"),
    ],
)
def test_real_series_that_are_not_volumes_are_refused(real_data: Path, folder: str, code: str, message: str) -> None:
    with pytest.raises(DataError) as caught:
        read_series(files(real_data, folder), ANY)
    assert caught.value.code == code
    assert message in str(caught.value)


def test_a_tilt_is_refused_where_only_uneven_spacing_is_allowed(real_data: Path) -> None:
    with pytest.raises(DataError, match=r"DCM-GANTRY-TILT.*18\.5 degrees"):
        read_series(files(real_data, GE), SiteData(nonuniform="resample"))


@pytest.mark.parametrize("folder", [GE, TILTED, "geometry/failing/sliceincrement/001"])
def test_resampled_series_reproduce_the_acquired_slices(real_data: Path, folder: str) -> None:
    """At the position of each acquired slice, the volume must have the values of the slice."""
    volume = read_series(files(real_data, folder), RESAMPLE)
    assert volume.acquired_geometry is not None
    to_index = np.linalg.inv(LPS_TO_RAS @ volume.affine)
    compared = 0
    for path in files(real_data, folder):
        ds = pydicom.dcmread(path)
        stored = ds.pixel_array * float(ds.RescaleSlope) + float(ds.RescaleIntercept)
        corner = to_index @ [*(float(v) for v in ds.ImagePositionPatient), 1]
        i, j, k = corner[:3]
        if abs(k - round(k)) > 1e-3:
            continue  # no plane of the volume is at that position
        plane = volume.array[0, :, :, round(k)].T
        first = int(np.ceil(j - 1e-6))
        fraction = first - j
        expected = stored[:-1] * (1 - fraction) + stored[1:] * fraction
        values = plane[first : first + len(expected), round(i) : round(i) + stored.shape[1]]
        np.testing.assert_allclose(values, expected, atol=0.01 * np.ptp(stored))
        assert abs(i - round(i)) < 1e-3
        compared += 1
    assert compared >= 3


def test_a_straightened_head_is_surrounded_by_air(real_data: Path) -> None:
    volume = read_series(files(real_data, GE), RESAMPLE)
    assert {warning.code for warning in volume.warnings} == {"DCM-STRAIGHTENED", "DCM-RESAMPLED"}
    assert 0.05 < (volume.array == AIR_HU).mean() < 0.25  # the corners outside all slices
    assert volume.spacing[2] == pytest.approx(4.0, abs=0.01)


def test_enhanced_multi_frame_is_read(real_data: Path) -> None:
    volume = read_series(files(real_data, "geometry/philips_enhanced/anatomical/001"))
    assert volume.shape == (256, 256, 8)


def test_nine_encodings_decode_to_the_same_pixels(real_data: Path) -> None:
    images = [read_dicom_image(path).array for path in files(real_data, "mr-siemens-nine-encodings")]
    assert len(images) == 9
    assert all((image == images[0]).all() for image in images)
