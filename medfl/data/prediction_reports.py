"""Predicted classes as DICOM structured reports (PS3.16 TID 1500), which refer to the images that they are about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes

from medfl import __version__
from medfl.data.cases import Source
from medfl.data.dicom.derived_uids import derive_uid, list_source_uids
from medfl.data.dicom.own_predictions import MANUFACTURER
from medfl.data.dicom.parsing import parse_file
from medfl.data.library_output import silence_libraries
from medfl.data.predictions import ModelOrigin, translate_write_errors
from medfl.errors import DataError
from medfl.site import SiteData
from medfl.system.files import write_file

_SERIES_NUMBER = 901
_SCHEME = "99MEDFL"  # a private coding scheme: nobody has codes for the classes of all studies (PS3.3 section 8.2)
_MAX_TEXT_LENGTH = 64  # characters of value representation LO, PS3.5 section 6.2


def write_report(
    probabilities: Mapping[str, float], source: Source, origin: ModelOrigin, path: Path, settings: SiteData
) -> None:
    """Write the class of an image, and the probability of each, as a structured report.

    It is a new series of the same study, complete but neither final nor verified by anybody. A report of the same has the same
    UIDs, and differs in the time of making alone.

    Parameters
    ----------
    probabilities : mapping of str to float
        By the name of the class.
    source : Source
        The files of the image, in DICOM.
    origin : ModelOrigin
        The model.
    path : Path
        The file; readable by the owner alone, for it names the patient.
    settings : SiteData
        The site's `allow_headerless`.

    Raises
    ------
    DataError
        ``PRED-REPORT`` when the headers lack what a report must copy; ``PRED-WRITE``.
    DiskFullError
        ``DISK-FULL``.
    """
    with silence_libraries():
        try:
            images = [parse_file(one, stop_before_pixels=True, force=settings.allow_headerless) for one in source.paths]
            content = _make_report(probabilities, images, origin)
        except Exception:  # highdicom requires attributes that a header may lack, and quotes values
            what = "the headers of the image lack attributes that a structured report must copy."
            fix = "Nothing to do if the tables are enough."
            raise DataError("PRED-REPORT", what, fix) from None
    with translate_write_errors():
        write_file(path, content, private=True)


def _make_report(probabilities: Mapping[str, float], images: Sequence[Dataset], origin: ModelOrigin) -> bytes:
    import highdicom  # half a second that sites without DICOM need not spend
    from highdicom import sr

    names = list(probabilities)
    shares = [_round(probabilities[name]) for name in names]
    made_of = (__version__, origin.name, origin.version, origin.digest, list_source_uids(images), *names, *map(str, shares))
    classes = {name: sr.CodedConcept(f"CLASS-{k}", _SCHEME, name[:_MAX_TEXT_LENGTH]) for k, name in enumerate(names)}
    algorithm = sr.AlgorithmIdentification(
        f"medfl:{origin.name}"[:_MAX_TEXT_LENGTH],
        f"{origin.version} {origin.digest[:12]}"[:_MAX_TEXT_LENGTH],
        family=codes.cid7162.ArtificialIntelligence,
    )
    group = sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(uid=derive_uid("tracking", *made_of), identifier="class of the image"),
        algorithm_id=algorithm,
        source_images=[sr.SourceImageForMeasurementGroup(one.SOPClassUID, one.SOPInstanceUID) for one in images],
        finding_type=classes[max(names, key=probabilities.__getitem__)],
        measurements=[_probability(k, name, share) for k, (name, share) in enumerate(zip(names, shares, strict=True))],
    )
    observer = derive_uid("device", origin.name, origin.version, origin.digest)
    device = sr.DeviceObserverIdentifyingAttributes(uid=observer, name="medfl", model_name=origin.name[:_MAX_TEXT_LENGTH])
    report = sr.MeasurementReport(
        observation_context=sr.ObservationContext(observer_device_context=sr.ObserverContext(codes.DCM.Device, device)),
        procedure_reported=codes.SCT.ImagingProcedure,
        imaging_measurements=[group],
        title=codes.DCM.ImagingMeasurementReport,
    )
    document = highdicom.sr.ComprehensiveSR(
        evidence=images,
        content=report,
        series_instance_uid=derive_uid("series", *made_of),
        series_number=_SERIES_NUMBER,
        sop_instance_uid=derive_uid("instance", *made_of),
        instance_number=1,
        manufacturer=MANUFACTURER,
        is_complete=True,
        is_final=False,
        is_verified=False,
        series_description="Prediction of medfl, for research",
    )
    document.SoftwareVersions = __version__
    buffer = BytesIO()
    document.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def _round(value: float) -> float:
    return round(float(value), 6)


def _probability(number: int, name: str, value: float) -> Any:
    from highdicom import sr

    concept = sr.CodedConcept(f"PROBABILITY-{number}", _SCHEME, f"Probability of {name}"[:_MAX_TEXT_LENGTH])
    return sr.Measurement(concept, value, codes.UCUM.NoUnits)
