"""Predictions of DICOM: every frame of a segmentation lies where its slice lies in the patient, however that was acquired."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import highdicom
import nibabel
import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray

from medfl.data.data_folder import open_data_folder
from medfl.errors import DataError
from medfl.models.folder_prediction import FolderPrediction
from medfl.models.predicted_folder import PredictedFolder, PredictionOptions
from medfl.models.sending import find_files_to_send
from medfl.models.trained_model import TrainedModel
from medfl.testing.sites import make_study
from tests.data.dicom.phantom import AXIAL, SHAPE, slice_values, stack, write_enhanced, write_slices
from tests.data.dicom.writing import oblique
from tests.models.threshold import threshold_model

STUDY = make_study(dimension=3, task={"modality": "CT", "classes": "background,liver"})
PLANES = {
    "axial": AXIAL,
    "prone": ((-1.0, 0.0, 0.0), (0.0, -1.0, 0.0)),
    "sagittal": ((0.0, 1.0, 0.0), (0.0, 0.0, -1.0)),
    "coronal": ((1.0, 0.0, 0.0), (0.0, 0.0, -1.0)),
    "oblique": oblique(),
}


def no_frame(k: int, ds: Any) -> None:
    """Take away what a segmentation must copy."""
    del ds.FrameOfReferenceUID


def predict(data: Path, out: Path, model: TrainedModel | None = None, **options: Any) -> PredictedFolder:
    chosen = model or threshold_model(STUDY)
    return FolderPrediction([chosen], open_data_folder(data), out, PredictionOptions(**options)).run()


def expected_slices(positions: list[Any], axes: Any = AXIAL) -> dict[tuple[float, ...], NDArray[np.bool_]]:
    """Return where the grey values of each slice are above the mean of the volume, by the position of the slice."""
    values = [slice_values(position, axes) for position in positions]
    mean = np.mean(values)
    return {tuple(np.round(position, 4)): part > mean for position, part in zip(positions, values, strict=True)}


def marked_slices(path: Path) -> dict[tuple[float, ...], NDArray[np.bool_]]:
    """Return the frames of a segmentation by their positions, as highdicom reads them."""
    seg = highdicom.seg.segread(path)
    frames = seg.pixel_array.reshape(seg.NumberOfFrames, seg.Rows, seg.Columns) > 0
    places = [item.PlanePositionSequence[0].ImagePositionPatient for item in seg.PerFrameFunctionalGroupsSequence]
    return {tuple(np.round([float(v) for v in place], 4)): frame for place, frame in zip(places, frames, strict=True)}


def assert_lies_on(path: Path, positions: list[Any], axes: Any = AXIAL) -> None:
    expected, found = expected_slices(positions, axes), marked_slices(path)
    assert set(found) <= set(expected)
    total = wrong = 0
    for position, marked in expected.items():
        frame = found.get(position, np.zeros(SHAPE, dtype=bool))  # an empty frame is left out
        wrong, total = wrong + int((frame != marked).sum()), total + int(marked.sum())
    assert total > 500
    assert wrong <= 0.005 * total  # stored values are rounded, also at the mean


@pytest.mark.parametrize("masks", ["auto", "labelmap"])
@pytest.mark.parametrize("plane", PLANES)
def test_a_segmentation_lies_on_its_series(plane: str, masks: str, tmp_path: Path) -> None:
    axes = PLANES[plane]
    write_slices(tmp_path / "data" / "series", axes=axes)
    found = predict(tmp_path / "data", tmp_path / "out", mask_format=masks)
    (path,) = (tmp_path / "out").glob("case-*.dcm")
    assert path.stem == found.cases[0]
    assert_lies_on(path, stack(axes=axes), axes)


def test_a_segmentation_lies_on_its_frames(tmp_path: Path) -> None:
    places = stack()
    write_enhanced(tmp_path / "data" / "frames.dcm", [places[(k * 3) % 10] for k in range(10)])
    predict(tmp_path / "data", tmp_path / "out")
    (path,) = (tmp_path / "out").glob("case-*.dcm")
    assert_lies_on(path, places)
    assert pydicom.dcmread(path).ReferencedSeriesSequence[0].ReferencedInstanceSequence[0].ReferencedSOPInstanceUID == (
        pydicom.dcmread(tmp_path / "data" / "frames.dcm").SOPInstanceUID
    )


def test_the_mask_of_a_series_can_be_nifti(tmp_path: Path) -> None:
    write_slices(tmp_path / "data" / "series", axes=PLANES["sagittal"])
    predict(tmp_path / "data", tmp_path / "out", mask_format="nifti")
    (path,) = (tmp_path / "out").glob("case-*.nii.gz")
    mask = nibabel.load(path)
    index = np.argwhere(np.asarray(mask.dataobj) >= 0)
    lps = (np.c_[index, np.ones(len(index))] @ mask.affine.T)[:, :3] * [-1, -1, 1]
    values = 200 + lps @ [3.0, 5.0, 7.0]
    assert (np.asarray(mask.dataobj).ravel() == (values > values.mean())).mean() > 0.998


def test_a_series_that_cannot_carry_a_segmentation_has_its_mask_as_nifti(tmp_path: Path) -> None:
    write_slices(tmp_path / "data" / "series", None, no_frame)
    found = predict(tmp_path / "data", tmp_path / "out")
    assert [(one.code, one.level) for one in found.findings] == [("PRED-SEG", "warning")]
    assert len(list((tmp_path / "out").glob("case-*.nii.gz"))) == 1
    again = predict(tmp_path / "data", tmp_path / "out")
    assert (again.fresh, again.findings) == (0, found.findings)
    with pytest.raises(DataError, match=r"PACS-OBJECT.*1 prediction could not be written as asked for"):
        find_files_to_send(again)


def test_a_series_that_cannot_carry_the_format_that_was_asked_for_is_left_out_alone(tmp_path: Path) -> None:
    for name in "abc":
        write_slices(tmp_path / "data" / name, None, no_frame if name == "a" else lambda k, ds: None)
    for fresh in (2, 0):
        found = predict(tmp_path / "data", tmp_path / "out", mask_format="seg")
        assert (found.fresh, len(found.done), len(found.left_out)) == (fresh, 2, 1)
        assert [(one.code, one.level) for one in found.findings] == [("PRED-SEG", "error")]
    assert {path.stem for path in (tmp_path / "out").glob("*.dcm")} == set(found.done)


def test_no_mask_of_another_format_stays_beside_a_new_one(tmp_path: Path) -> None:
    paths = write_slices(tmp_path / "data" / "series")
    (case,) = predict(tmp_path / "data", tmp_path / "out").cases
    for path in paths:
        ds = pydicom.dcmread(path)
        del ds.FrameOfReferenceUID
        ds.save_as(path)
    assert predict(tmp_path / "data", tmp_path / "out").done.keys() == {case}
    assert [path.name for path in (tmp_path / "out").glob("case-*")] == [f"{case}.nii.gz"]


def test_a_segmentation_bears_the_codes_that_the_study_names(tmp_path: Path) -> None:
    write_slices(tmp_path / "data" / "series")
    study = make_study(dimension=3, task={"modality": "CT", "classes": "background,leber", "codes": "10200004:Liver"})
    predict(tmp_path / "data", tmp_path / "out", threshold_model(study))
    (path,) = (tmp_path / "out").glob("case-*.dcm")
    assert highdicom.seg.segread(path).get_segment_description(1).segmented_property_type.value == "10200004"


def test_every_series_of_a_patient_is_predicted(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_slices(tmp_path / "data" / name)
    found = predict(tmp_path / "data", tmp_path / "out")
    assert len(found.done) == 2
    assert len({result.patient for result in found.results}) == 1


def test_images_of_another_modality_are_refused(tmp_path: Path) -> None:
    write_slices(tmp_path / "data" / "series")
    study = make_study(dimension=3, task={"modality": "MR"})
    with pytest.raises(
        DataError, match=r"DATA-EMPTY\] there is no image for the model here: it asks for MR; here lie 10 CT images"
    ):
        predict(tmp_path / "data", tmp_path / "out", threshold_model(study))


def test_nothing_but_the_segmentation_names_the_patient(tmp_path: Path) -> None:
    write_slices(tmp_path / "data" / "series")
    predict(tmp_path / "data", tmp_path / "out")
    for path in (tmp_path / "out").rglob("*"):
        assert b"CANARY" not in (b"" if path.is_dir() or path.suffix == ".dcm" else path.read_bytes())
        assert "CANARY" not in path.name


def test_the_class_of_an_image_is_reported(tmp_path: Path) -> None:
    paths = write_slices(tmp_path / "data" / "series")
    study = make_study("classification", dimension=3, task={"modality": "CT", "classes": "healthy,ill"})
    found = predict(tmp_path / "data", tmp_path / "out", threshold_model(study))
    (path,) = (tmp_path / "out").glob("case-*.dcm")
    report = highdicom.sr.srread(path)
    assert report.StudyInstanceUID == "1.2.3"
    assert (report.CompletionFlag, report.VerificationFlag) == ("COMPLETE", "UNVERIFIED")
    (group,) = report.content.get_image_measurement_groups()
    assert group.finding_type.meaning == found.results[0].predicted
    told = {one.name.meaning: one.value for one in group.get_measurements()}
    expected = found.results[0].probabilities
    assert told == {f"Probability of {name}": pytest.approx(share, abs=1e-5) for name, share in expected.items()}
    assert {one.referenced_sop_instance_uid for one in group.source_images} == {
        pydicom.dcmread(one).SOPInstanceUID for one in paths
    }
