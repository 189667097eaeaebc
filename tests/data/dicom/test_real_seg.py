"""SEG objects of dcmqi against its own NRRD files, which are not in the repository."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medfl.data.cases import Source
from medfl.data.dicom.seg import read_seg
from medfl.data.dicom.series import read_series
from medfl.data.mask_alignment import reorient
from medfl.errors import DataError
from tests.data.dicom.drawing import read_nrrd
from tests.data.dicom.seg_scene import CLASSES


@pytest.mark.realdata
@pytest.mark.parametrize(
    ("seg", "series", "references"),
    [
        ("liver.dcm", "ct-3slice", [("liver_seg.nrrd", 1)]),
        ("23x38x3/seg/label.seg", "23x38x3/image", [("23x38x3/nrrd/label.nrrd", 1)]),
        ("24x38x3/seg/label.seg", "24x38x3/image", [("24x38x3/nrrd/label.nrrd", 1)]),
        ("23x38x3/seg/label.seg", "23x38x3/multiframe", [("23x38x3/nrrd/label.nrrd", 1)]),
        ("24x38x3/seg/label.seg", "24x38x3/multiframe", [("24x38x3/nrrd/label.nrrd", 1)]),
        ("sparse-labelmap-noppv.dcm", "24x38x3/image", [("sparse_labelmap_noppv_seg.nrrd", 1)]),
        ("sparse-labelmap-ppv5.dcm", "24x38x3/image", [("sparse_labelmap_ppv5_seg.nrrd", 1)]),  # 5 is the pixel padding value
        ("partial_overlaps.dcm", "ct-3slice", [(f"partial_overlaps-{n}.nrrd", None) for n in (1, 2, 3)]),
    ],
)
def test_segmentations_of_dcmqi_equal_their_nrrd(
    real_data: Path, make_study: Any, make_site: Any, seg: str, series: str, references: list[tuple[str, int | None]]
) -> None:
    root = real_data / "dicom" / "seg-dcmqi"
    source = Source("dicom", tuple(sorted((root / series).glob("*.dcm"))))
    names = tuple((colour, "liver") for colour in ("green", "orange", "purple", "light_blue", "dark_blue"))
    match = "frame-of-reference" if series.endswith("multiframe") else "references"  # drawn on the single-frame images
    site = make_site(root, min_slices=3, label_names=names, label_match=match)
    image = read_series(source.paths, site.data)
    mask, _ = read_seg(root / seg, image, source, make_study(task__modality="CT", task__classes=CLASSES), site)
    expected = np.zeros(image.shape, dtype=bool)
    for reference, value in references:
        values, affine = read_nrrd(root / reference)
        reoriented, reoriented_affine = reorient(values, affine, image.affine)
        np.testing.assert_allclose(reoriented_affine, image.affine, atol=2e-3)
        expected |= reoriented == value if value else reoriented > 0
    assert expected.any()
    np.testing.assert_array_equal(mask == 1, expected)


@pytest.mark.realdata
def test_overlapping_segments_of_dcmqi_are_refused(real_data: Path, make_study: Any, make_site: Any) -> None:
    root = real_data / "dicom" / "seg-dcmqi"
    source = Source("dicom", tuple(sorted((root / "ct-3slice").glob("*.dcm"))))
    study = make_study(task__classes="background,green,orange,purple,light_blue,dark_blue")
    site = make_site(root, min_slices=3)
    with pytest.raises(DataError, match="LBL-OVERLAP"):
        read_seg(root / "partial_overlaps.dcm", read_series(source.paths, site.data), source, study, site)
