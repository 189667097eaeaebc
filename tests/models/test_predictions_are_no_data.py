"""What medfl predicted is neither an image to predict nor a truth to learn from or score by, wherever it lies."""

from __future__ import annotations

import shutil
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from pydicom.uid import UID

from medfl.data.cases import Cohort, Source
from medfl.data.cohort import read_cohort
from medfl.data.data_folder import open_data_folder
from medfl.data.index.prediction_folders import holds_predictions
from medfl.data.load import load_case
from medfl.errors import DataError, RunError
from medfl.site import Site
from medfl.study import Study
from tests.data.dicom.phantom import write_slices
from tests.models import images_to_predict as nifti
from tests.models import test_dicom_prediction as dicom
from tests.models.threshold import threshold_model


def codes(found: Cohort) -> list[str]:
    return [one.code for one in found.findings]


def cohort_of(data: Path, study: Study, *, allow: bool = False) -> Cohort:
    site = open_data_folder(data).site
    settings = site.data.model_copy(update={"allow_predictions": allow})
    return read_cohort(site.model_copy(update={"data": settings}), study, account=True)


def test_predictions_are_not_written_among_the_data(tmp_path: Path) -> None:
    data = tmp_path / "data"
    nifti.save(data / "a.nii.gz", nifti.grey(nifti.cube()))
    (tmp_path / "link").symlink_to(data)
    for out in (data / "predictions", data / "deep" / "er", tmp_path / "link" / "predictions", data, tmp_path):
        with pytest.raises(RunError, match=r"PRED-OUT.*data"):
            nifti.predict(data, out)
    assert [path.name for path in data.rglob("*")] == ["a.nii.gz"]
    assert len(nifti.predict(data / "a.nii.gz", data / "predictions").done) == 1  # nothing else of the folder is looked at


@pytest.mark.parametrize("layout", ["loose", "folders"])
def test_masks_are_not_predicted_again(layout: str, tmp_path: Path) -> None:
    data = tmp_path / "data"
    for name in ("a", "b"):
        nifti.save(data / (f"{name}/image.nii.gz" if layout == "folders" else f"{name}.nii.gz"), nifti.grey(nifti.cube()))
    first = nifti.predict(data, tmp_path / "out")
    shutil.move(tmp_path / "out", data / "predictions")
    again = nifti.predict(data, tmp_path / "again")
    assert again.cases == first.cases
    assert [(one.code, one.level) for one in again.findings] == [("DATA-PREDICTIONS", "warning")]
    assert set(again.done) == set(again.cases)


def test_a_folder_of_predictions_trains_nobody(tmp_path: Path) -> None:
    data = nifti.labelled_folder(tmp_path / "data", 2)
    nifti.predict(data, tmp_path / "out")
    before = cohort_of(data, nifti.STUDY)
    shutil.move(tmp_path / "out", data / "predictions")
    after = cohort_of(data, nifti.STUDY)
    assert after.cases == before.cases
    assert set(codes(after)) - set(codes(before)) == {"DATA-PREDICTIONS"}
    assert after.files is not None
    assert before.files is not None
    assert after.files.counts["prediction"] == sum(path.is_file() for path in (data / "predictions").rglob("*"))
    assert after.files.total == sum(path.is_file() for path in data.rglob("*"))


def predicted_seg(data: Path, work: Path) -> Path:
    dicom.predict(data, work)
    return next(work.glob("case-*.dcm"))


def test_a_predicted_segmentation_is_no_truth(tmp_path: Path) -> None:
    data = tmp_path / "data"
    write_slices(data / "series")
    shutil.copy(predicted_seg(data, tmp_path / "out"), data / "series" / "mask.dcm")
    found = dicom.predict(data, tmp_path / "again")
    assert (len(found.done), found.scores()[0]) == (1, 0)
    assert [(one.code, one.level) for one in found.findings] == [("LBL-PREDICTED", "warning")]
    cohort = cohort_of(data, dicom.STUDY)
    assert cohort.cases == ()
    assert {"LBL-MISSING", "LBL-PREDICTED"} <= set(codes(cohort))
    allowed = cohort_of(data, dicom.STUDY, allow=True)
    assert [type(case.label) for case in allowed.cases] == [Source]
    assert "LBL-PREDICTED" not in codes(allowed)


def test_what_somebody_drew_is_the_truth_beside_a_prediction(tmp_path: Path) -> None:
    data = tmp_path / "data"
    write_slices(data / "series")
    own = predicted_seg(data, tmp_path / "out")
    drawn = pydicom.dcmread(own)
    drawn.SOPInstanceUID = drawn.file_meta.MediaStorageSOPInstanceUID = UID("1.2.3.4")
    drawn.Manufacturer = "maker"
    drawn.save_as(data / "drawn.dcm")
    shutil.copy(own, data / "own.dcm")
    (case,) = cohort_of(data, dicom.STUDY).cases
    assert isinstance(case.label, Source)
    assert [path.name for path in case.label.paths] == ["drawn.dcm"]
    assert dicom.predict(data, tmp_path / "again").scores()[0] == 1


@pytest.mark.parametrize("label", ["mask.dcm", "masks"])
def test_an_index_names_no_prediction_as_truth(label: str, tmp_path: Path) -> None:
    data = tmp_path / "data"
    write_slices(data / "series")
    own = predicted_seg(data, tmp_path / "out")
    target = data / label / "one.dcm" if label == "masks" else data / label
    target.parent.mkdir(exist_ok=True)
    shutil.copy(own, target)
    (data / "index.csv").write_text(f"image,label,patient\nseries,{label},p1\n")
    assert "LBL-PREDICTED" in codes(cohort_of(data, dicom.STUDY))
    assert len(cohort_of(data, dicom.STUDY, allow=True).cases) == 1


@pytest.mark.parametrize("form", ["nii.gz", "nii", "png"])
def test_a_mask_that_was_taken_out_is_no_truth_until_somebody_corrects_it(form: str, tmp_path: Path) -> None:
    data, flat = tmp_path / "data", form == "png"
    image, label = (data / f"{part}.{form}" for part in ("image", "label"))
    if flat:
        nifti.picture_of(nifti.cube((40, 30)), image)
    else:
        nifti.save(image, nifti.grey(nifti.cube()))
    models = [threshold_model(nifti.PICTURES)] if flat else []
    nifti.predict(image, tmp_path / "out", *models)
    (mask,) = (path for path in (tmp_path / "out").glob("case-*.*") if path.is_file())
    study = nifti.PICTURES if flat else nifti.STUDY
    save_again(mask, label)
    (data / "index.csv").write_text(f"image,label,patient\n{image.name},{label.name},p1\n")
    site = open_data_folder(data).site
    assert codes_of_reading(site, study) == ["LBL-PREDICTED"]
    found = nifti.predict(data, tmp_path / "again", *models)
    assert (len(found.done), found.scores()[0], [one.code for one in found.findings]) == (1, 0, ["LBL-PREDICTED"])
    allowed = site.model_copy(update={"data": site.data.model_copy(update={"allow_predictions": True})})
    assert codes_of_reading(allowed, study) == []
    save_again(mask, label, corrected=True)
    assert codes_of_reading(site, study) == []


def save_again(mask: Path, label: Path, *, corrected: bool = False) -> None:
    """Save a mask as another program does, which keeps what it does not know."""
    if label.suffix == ".png":
        with Image.open(mask) as picture:
            words = PngInfo()
            words.add_text("Description", picture.info["Description"])
            pixels = np.array(picture)
            pixels[0, 0] = int(corrected)
            Image.fromarray(pixels).save(label, pnginfo=words)
        return
    image = nibabel.load(mask)
    values = np.asarray(image.dataobj).astype(np.int16)
    values[0, 0, 0] = int(corrected)
    made = nibabel.Nifti1Image(values, image.affine, image.header)
    made.set_data_dtype(np.int16)
    nibabel.save(made, label)


def codes_of_reading(site: Site, study: Study) -> list[str]:
    """Return the errors of the cases of a site, as training meets them."""
    (case,) = read_cohort(site, study).cases
    try:
        load_case(case, study, site)
    except DataError as error:
        return [error.code]
    return []


def test_a_file_of_the_same_name_makes_no_folder_of_predictions(tmp_path: Path) -> None:
    for content in ("{}", '{"model": "x", "study-hash": 1}', "[1]", "no JSON"):
        (tmp_path / "prediction.json").write_text(content)
        assert not holds_predictions(tmp_path)
