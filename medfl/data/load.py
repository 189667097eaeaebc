"""Reader of a case: its image and its label, checked and on one grid."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medfl.data.cases import Case, Source
from medfl.data.classes import annotated_classes
from medfl.data.dicom.image import read_dicom_image
from medfl.data.dicom.series import read_series
from medfl.data.dicom.source_headers import read_source_headers
from medfl.data.findings import Finding
from medfl.data.image_files import read_image
from medfl.data.labels import read_label
from medfl.data.mask_alignment import CORNER_TOLERANCE
from medfl.data.nifti import read_nifti
from medfl.data.pictures.placing import lie_apart
from medfl.data.sanity import check_image
from medfl.data.volume import Volume, corner_distance
from medfl.errors import DataError
from medfl.site import Site
from medfl.study import Study
from medfl.system.memory import is_out_of_memory


def load_case(case: Case, study: Study, site: Site) -> tuple[Volume, NDArray[np.uint8] | int | None]:
    """Read the image and the label of a case.

    Parameters
    ----------
    case : Case
        Case to read, with its image and its label, if it has one.
    study : Study
        Says what kind of image is needed, and names the classes.
    site : Site
        Says how its data is to be read.

    Returns
    -------
    volume : Volume
        Volume as stored, not yet resampled or normalised; with the warnings about image and label.
    label : ndarray of uint8, int or None
        The mask on the grid of the image, or the index of the class; None of a case without a label.

    Raises
    ------
    DataError
        If the case cannot be read; it bears the pseudonym. ``LBL-UNANNOTATED`` when no class of the study was looked for,
        ``CASE-MEMORY`` and ``IMG-READ`` for what is no fault of the files.
    """
    try:
        if isinstance(case.label, Source):
            annotated_classes(case.annotated, study, site)  # refuses before an image is read
        volume = load_image(case.image, study, site)
        if not isinstance(case.label, Source):
            return volume, case.label
        mask, warnings = read_label(case.label, volume, case.image, study, site, annotated=case.annotated)
        return replace(volume, warnings=(*volume.warnings, *warnings)), mask
    except DataError as error:
        raise DataError(error.code, error.what, error.fix, case.name) from None
    except MemoryError:
        raise memory_error("the memory was not enough to read the case.", case.name) from None
    except OSError:
        raise DataError(
            "IMG-READ", "a file could not be read.", "Check disk, network drive and permissions.", case.name
        ) from None


def memory_error(
    what: str, case: str = "", fix: str = "End other programs, prepare fewer cases at a time, or use a larger machine."
) -> DataError:
    """Return the error for a case that does not fit into the memory."""
    return DataError("CASE-MEMORY", what, fix, case)


def unreadable_finding(case: str, reason: Exception | str) -> Finding:
    """Return the finding about a case on which a library failed in a way of its own, or whose process was ended."""
    if isinstance(reason, Exception) and is_out_of_memory(reason):
        return Finding.from_error(memory_error("the memory was not enough for the case."), case)
    words = reason if isinstance(reason, str) else type(reason).__name__  # its text may hold a path or a name
    what = f"the image or its label could not be read ({words})."
    fix = "Check that the files are complete and can be opened with another program, and export them again."
    return Finding("CASE-UNREADABLE", case, what, fix)


def load_image(source: Source, study: Study, site: Site) -> Volume:
    """Read an image with all its channels and check its values.

    Raises
    ------
    DataError
        ``IMG-CHANNELS``, ``IMG-GRID``, ``IMG-DIMENSION``; codes of `medfl.data.sanity` and of the readers.
    """
    volume = _stack_channels(_read_channels(source, study, site), study.task.channel_count)
    return replace(volume, warnings=(*volume.warnings, *check_image(volume, study)))


def _read_channels(source: Source, study: Study, site: Site) -> list[Volume]:
    flat = study.task.dimension == 2
    if source.kind == "image":
        if not flat:
            raise DataError("IMG-DIMENSION", "the image is a 2-D file, the study needs volumes.", "Use the original series.")
        return [read_image(path, site.data) for path in source.paths]
    if source.kind == "nifti":
        return [_read_nifti_channels(path, source, study, site) for path in source.paths]
    if not flat:
        headers = read_source_headers(source, force=site.data.allow_headerless)
        return [read_series(source.paths, site.data, select=text, headers=headers) for text in source.select or ("",)]
    if len(source.paths) > 1:
        raise DataError("IMG-DIMENSION", "the case is a series of images, the study needs one.", "Name one file in the index.")
    (header,) = read_source_headers(source, force=site.data.allow_headerless)
    return [read_dicom_image(source.paths[0], site.data, header=header)]


def _read_nifti_channels(path: Path, source: Source, study: Study, site: Site) -> Volume:
    channels = (source.volume_count or study.task.channel_count) if len(source.paths) == 1 else 1
    volume = read_nifti(path, channels=channels, dimension=study.task.dimension, settings=site.data)
    if not source.volumes:
        return volume
    if len(volume.array) != source.volume_count:
        what = f"the file holds {len(volume.array)} image(s), and {source.volume_count} channels are named."
        fix = "If each channel is a file of its own, name them all in 'image' in site.toml; else correct 'channels'."
        raise DataError("IMG-CHANNELS", what, fix)
    return replace(volume, array=volume.array[list(source.volumes)])


def _stack_channels(parts: list[Volume], channels: int) -> Volume:
    first = parts[0]
    count = sum(len(part.array) for part in parts)
    if count != channels:
        raise DataError("IMG-CHANNELS", f"the image has {count} channel(s), the study needs {channels}.", "Check the index.")
    if len(parts) == 1:
        return first
    for part in parts[1:]:
        tolerance = CORNER_TOLERANCE * min(first.spacing)
        apart = corner_distance(part.affine, first.affine, first.shape) > tolerance
        if part.shape != first.shape or apart or lie_apart(part.picture, first.picture):
            raise DataError("IMG-GRID", "the channels are not on one grid.", "Register and resample them to one grid.")
    warnings = tuple(warning for part in parts for warning in part.warnings)
    array = np.concatenate([part.array for part in parts])
    return replace(first, array=array, warnings=warnings)
