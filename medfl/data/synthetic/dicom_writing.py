"""Writer of synthetic patients as a PACS exports them: one DICOM file per slice, the labels as a DICOM SEG."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from medfl.data.synthetic.brain import CLASSES, Head

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

# These people do not exist; anybody of the same name is not meant.
_FAMILY_NAMES = ("Madeup", "Invented", "Fictive", "Imagined", "Notional", "Pretend", "Supposed", "Synthetic")
_GIVEN_NAMES = ("Alma", "Bruno", "Carla", "David", "Edith", "Felix", "Greta", "Hanna", "Ivan", "Julia")
_TISSUE = ("GrayMatter", "WhiteMatter")  # SNOMED CT, in the order of the foreground classes


def write_dicom(folder: Path, head: Head, seed: int, number: int) -> None:
    """Write one patient: ``<folder>/<PatientID>/MR/*.dcm`` and ``<folder>/<PatientID>/SEG/labels.dcm``.

    Parameters
    ----------
    folder : Path
        Folder of all patients.
    head : Head
        The patient, with array axes along columns, rows and slices.
    seed : int
        Seed of all synthetic data; with `number` it decides every UID, name and date.
    number : int
        Number of the patient, from 1.
    """
    patient = folder / f"SYN{number:04d}"
    series, labels = patient / "MR", patient / "SEG"
    series.mkdir(parents=True)
    labels.mkdir()
    slices = [_make_slice(head, k, seed, number) for k in range(head.image.shape[2])]
    for k, dataset in enumerate(slices, start=1):
        dataset.save_as(series / f"IM{k:04d}.dcm", enforce_file_format=True)
    _write_seg(labels / "labels.dcm", slices, head.label, seed, number)


def _make_uid(*entropy: object) -> str:
    from pydicom.uid import generate_uid

    return str(generate_uid(entropy_srcs=["medfl synthetic", *(str(e) for e in entropy)]))


def _make_slice(head: Head, k: int, seed: int, number: int) -> Dataset:
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import UID, ExplicitVRLittleEndian, MRImageStorage

    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = MRImageStorage
    dataset.file_meta.MediaStorageSOPInstanceUID = UID(_make_uid(seed, number, "slice", k))
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID
    _describe_patient(dataset, seed, number)
    _describe_series(dataset, seed, number)
    _set_position(dataset, head, k)
    pixels = np.ascontiguousarray(head.image[:, :, k].T, dtype="<u2")
    dataset.InstanceNumber = k + 1
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 16, 15, 0
    dataset.PixelData = pixels.tobytes()
    dataset["PixelData"].VR = "OW"
    return dataset


def _describe_patient(dataset: Dataset, seed: int, number: int) -> None:
    rng = np.random.default_rng((seed, number))
    age = int(rng.integers(21, 85))
    study_date = date(2024, 1, 8) + timedelta(days=int(rng.integers(0, 500)))
    dataset.PatientName = f"{_FAMILY_NAMES[rng.integers(len(_FAMILY_NAMES))]}^{_GIVEN_NAMES[rng.integers(len(_GIVEN_NAMES))]}"
    dataset.PatientID = f"SYN{number:04d}"
    dataset.PatientBirthDate = (study_date - timedelta(days=int(365.25 * age) + 90)).strftime("%Y%m%d")
    dataset.PatientSex, dataset.PatientAge = "FM"[rng.integers(2)], f"{age:03d}Y"
    dataset.StudyDate = dataset.SeriesDate = dataset.ContentDate = study_date.strftime("%Y%m%d")
    dataset.StudyTime = dataset.SeriesTime = dataset.ContentTime = f"{rng.integers(7, 19):02d}{rng.integers(60):02d}00"
    dataset.AccessionNumber = f"SYN{seed % 1000:03d}{number:06d}"
    dataset.ReferringPhysicianName = "Nobody^Dr"
    dataset.InstitutionName = "Made-up hospital A"


def _describe_series(dataset: Dataset, seed: int, number: int) -> None:
    dataset.StudyInstanceUID, dataset.StudyID = _make_uid(seed, number, "study"), str(number)
    dataset.SeriesInstanceUID, dataset.SeriesNumber = _make_uid(seed, number, "series"), 3
    dataset.FrameOfReferenceUID, dataset.PositionReferenceIndicator = _make_uid(seed, number, "frame"), ""
    dataset.Modality, dataset.BodyPartExamined, dataset.PatientPosition = "MR", "BRAIN", "HFS"
    dataset.StudyDescription, dataset.SeriesDescription = "MRI brain (made up)", "AX T1 (made up)"
    dataset.Manufacturer, dataset.ManufacturerModelName = "medfl", "synthetic"
    dataset.ImageType = ["DERIVED", "PRIMARY", "OTHER"]  # not acquired by a scanner
    dataset.ScanningSequence, dataset.SequenceVariant, dataset.ScanOptions = "SE", "SK", ""
    dataset.MRAcquisitionType, dataset.MagneticFieldStrength = "2D", "1.5"
    dataset.EchoTime, dataset.RepetitionTime, dataset.EchoTrainLength = "12", "550", "1"


def _set_position(dataset: Dataset, head: Head, k: int) -> None:
    """Set image position and orientation (patient) of a slice; DICOM is LPS (PS3.3 C.7.6.2), the affine RAS."""
    from pydicom.valuerep import DSfloat

    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ head.affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    cosines = lps[:3, :2] / spacing[:2]

    def to_decimal_strings(values: NDArray[np.float64]) -> list[DSfloat]:
        return [DSfloat(float(value), auto_format=True) for value in values]

    dataset.ImageOrientationPatient = to_decimal_strings(cosines.T.ravel())
    dataset.ImagePositionPatient = to_decimal_strings((lps @ [0.0, 0.0, k, 1.0])[:3])
    dataset.PixelSpacing = to_decimal_strings(spacing[[1, 0]])  # between rows, then between columns
    dataset.SliceThickness = dataset.SpacingBetweenSlices = to_decimal_strings(spacing[2:])[0]


def _write_seg(path: Path, slices: Sequence[Dataset], label: NDArray[np.uint8], seed: int, number: int) -> None:
    from highdicom.seg import Segmentation, SegmentDescription
    from pydicom.sr.codedict import codes

    descriptions = [
        SegmentDescription(
            segment_number=value,
            segment_label=CLASSES[value],
            segmented_property_category=codes.SCT.AnatomicalStructure,
            segmented_property_type=getattr(codes.SCT, _TISSUE[value - 1]),
            algorithm_type="MANUAL",
        )
        for value in (1, 2)
    ]
    segmentation = Segmentation(
        source_images=list(slices),
        pixel_array=np.ascontiguousarray(label.transpose(2, 1, 0)),
        segmentation_type="BINARY",
        segment_descriptions=descriptions,
        series_instance_uid=_make_uid(seed, number, "seg series"),
        series_number=900,
        sop_instance_uid=_make_uid(seed, number, "seg"),
        instance_number=1,
        manufacturer="medfl",
        manufacturer_model_name="synthetic",
        software_versions="1",
        device_serial_number="0",
        omit_empty_frames=True,
    )
    _fix_timestamps(segmentation, slices[0], seed, number)
    segmentation.save_as(path)


def _fix_timestamps(segmentation: Dataset, source: Dataset, seed: int, number: int) -> None:
    """Replace the current times and random UIDs that highdicom sets, so that the same seed writes the same bytes."""
    for key in ("InstanceCreationDate", "SeriesDate", "ContentDate"):
        if key in segmentation:
            segmentation[key].value = source.StudyDate
    for key in ("InstanceCreationTime", "SeriesTime", "ContentTime"):
        if key in segmentation:
            segmentation[key].value = source.StudyTime
    for item in segmentation.get("ContributingEquipmentSequence", ()):
        item.ContributionDateTime = source.StudyDate + source.StudyTime
    organization = _make_uid(seed, number, "dimensions")
    for item in (*segmentation.DimensionOrganizationSequence, *segmentation.DimensionIndexSequence):
        item.DimensionOrganizationUID = organization
