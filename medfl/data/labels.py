"""Labels: masks on the grid of their image, with checked values, and classes named by text."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medfl.data.cases import Source
from medfl.data.classes import annotated_classes, drop_unannotated, find_class, format_classes, values_to_classes
from medfl.data.dicom.masks import read_dicom_mask
from medfl.data.dicom.references import read_references
from medfl.data.dicom.rtstruct import read_rtstruct
from medfl.data.dicom.seg import read_seg, read_seg_2d
from medfl.data.dicom.source_headers import read_first_header, read_source_headers
from medfl.data.findings import Finding
from medfl.data.image_files import read_mask_picture
from medfl.data.mask_alignment import Values, resample_mask
from medfl.data.mask_values import count_values, map_values
from medfl.data.nifti import read_nifti_mask, read_nifti_picture_mask
from medfl.data.pictures.placing import place_mask
from medfl.data.prediction_marks import is_unchanged_picture, predicted_label_error
from medfl.data.spelling import is_blank, parse_whole_number
from medfl.data.volume import Volume
from medfl.errors import DataError
from medfl.site import Site
from medfl.study import Study

Mask = NDArray[np.uint8]


def read_mask(
    source: Source, image: Volume, image_source: Source, study: Study, site: Site, *, annotated: Sequence[str] = ()
) -> Mask:
    """Read a mask on the grid of its image; as `read_label`, without its warnings."""
    return read_label(source, image, image_source, study, site, annotated=annotated)[0]


def read_label(
    source: Source, image: Volume, image_source: Source, study: Study, site: Site, *, annotated: Sequence[str] = ()
) -> tuple[Mask, list[Finding]]:
    """Read a mask on the grid of its image.

    Parameters
    ----------
    source : Source
        NIfTI, one DICOM-SEG or RTSTRUCT; for a 2-D study an image file or a picture in DICOM, too.
    image : Volume
        The image it belongs to, as read.
    image_source : Source
        Where the image came from: a label in DICOM must refer to it.
    study : Study
        Names the classes.
    site : Site
        Says whether resampling is allowed, how classes are called there, and whether a mask may be empty.
    annotated : sequence of str
        Classes that were looked for in this case: if it names any, a mask without a marked voxel is a true negative. What
        else is marked is taken out.

    Returns
    -------
    mask : ndarray
        Class of each voxel, uint8, (X, Y, Z) or (X, Y).
    warnings : list of Finding
        What the reader noticed and could live with.

    Raises
    ------
    DataError
        ``LBL-EMPTY``, ``LBL-FORMAT``, ``LBL-PREDICTED``; ``LBL-*`` from `medfl.data.classes`, `medfl.data.mask_values`,
        `medfl.data.mask_alignment` and the readers of DICOM; the codes of the other readers.
    """
    if not site.data.allow_predictions and source.kind == "image" and any(map(is_unchanged_picture, source.paths)):
        raise predicted_label_error()
    try:
        mask, warnings = _read_mask(source, image, image_source, study, site)
    except DataError as error:
        raise _as_label_error(error) from None
    mask, unannotated = drop_unannotated(mask, annotated_classes(annotated, study, site), study)
    warnings = [*warnings, *unannotated]
    if not (site.data.negatives or annotated or mask.any()):
        fix = (
            "Was the right file exported? If this is a true negative, name the classes that were looked for in the index "
            "(column 'annotated'), or set negatives = true in site.toml."
        )
        raise DataError("LBL-EMPTY", "the label has no marked voxel.", fix)
    return mask, warnings


def _read_mask(source: Source, image: Volume, image_source: Source, study: Study, site: Site) -> tuple[Mask, list[Finding]]:
    path, resample = _single_path(source), site.data.label_geometry == "resample"
    if study.task.dimension == 2:
        return _read_picture_mask(source, image, image_source, study, site), []
    if source.kind == "dicom":
        if _label_modality(source, site) == "RTSTRUCT":
            return read_rtstruct(path, image, image_source, study, site)
        return read_seg(path, image, image_source, study, site)
    if source.kind == "nifti":
        values = resample_mask(*read_nifti_mask(path, settings=site.data), image, resample=resample)
    else:
        what = "a 2-D image file cannot be the mask of a volume."
        raise DataError("LBL-FORMAT", what, "Use NIfTI, DICOM-SEG or RTSTRUCT.")
    return values_to_mask(values, source, study, site), []


def values_to_mask(values: Values, source: Source, study: Study, site: Site) -> Mask:
    """Return mask values as classes, after checking that they are.

    Parameters
    ----------
    values : ndarray
        Values as stored, (X, Y[, Z]).
    source : Source
        Says what the values mean, where the data does. In a picture 0 and 255 may stand for the background and the one
        foreground class.
    study, site
        Name the classes.

    Raises
    ------
    DataError
        ``LBL-VALUES``, ``LBL-CLASSNAME`` or ``LBL-UNANNOTATED``.
    """
    counts = count_values(values, format_classes(study))
    picture = source.kind in ("image", "dicom")
    if picture and not source.names and len(study.task.classes) == 2 and set(counts) in ({0, 255}, {255}):
        return map_values(values, {0: 0, 255: 1})
    return map_values(values, values_to_classes(counts, source.names, study, site))


def parse_class(text: str, classes: Sequence[str], local: Sequence[str] = (), *, positions: bool = False) -> int:
    """Return the class that a text of an index names.

    Parameters
    ----------
    text : str
        A name of the site, or a name of the study. A number is a name as well, unless the study says otherwise.
    classes : sequence of str
        Names of the study.
    local : sequence of str
        Names that the site uses, in the order of the study's; empty when they are the same.
    positions : bool
        Whether the study says that whole numbers from 0 on are positions of its classes.

    Raises
    ------
    DataError
        ``LBL-MISSING`` for an empty text, ``LBL-CLASS`` for one that names no class.

    Examples
    --------
    >>> parse_class("Benign", ["benign", "malignant"])
    0
    >>> parse_class("B", ["benign", "malignant"], ["G", "B"])
    1
    >>> parse_class("1", ["benign", "malignant"], ["0", "1"])
    1
    """
    found = find_class(text, classes, local)
    if found is not None:
        return found
    if is_blank(text):
        raise DataError("LBL-MISSING", "the image has no label.", "Add the label, or leave the case out of the index.")
    number = parse_whole_number(text)
    if positions and number is not None and number < len(classes):
        return number
    if number is not None and not positions and not any(parse_whole_number(name) is not None for name in local or classes):
        from_0, from_1 = (",".join(str(k + first) for k in range(len(classes))) for first in (0, 1))
        what = "the label is a number, and the classes of the study have names: which one it stands for is not said."
        fix = (
            f'Set classes = "{from_0}" in site.toml if these stand for {", ".join(classes)} in this order ("{from_1}" if they '
            "count from 1), or let the study set labels = \"positions\" in its table 'task'; else write the names."
        )
        raise DataError("LBL-CLASS", what, fix)
    fix = f"Use one of {', '.join(local or classes)}, or set 'classes' in site.toml."
    raise DataError("LBL-CLASS", "the label is not one of the classes of the study.", fix)


def _label_modality(source: Source, site: Site) -> str:
    if source.files and (header := read_first_header(source, force=site.data.allow_headerless)):
        return header.text("Modality").upper()
    return read_references(source.paths[0], force=site.data.allow_headerless).modality


def _read_picture_mask(source: Source, image: Volume, image_source: Source, study: Study, site: Site) -> Mask:
    path, settings = _single_path(source), site.data
    if source.kind == "dicom":
        (header,) = read_source_headers(source, force=settings.allow_headerless)
        if header.text("Modality").upper() == "SEG":
            return read_seg_2d(path, image, image_source, study, site)
        values, geometry = read_dicom_mask(path, settings, header=header)  # a mask that was saved as a picture
    elif source.kind == "image":
        values, geometry = read_mask_picture(path, settings)
    else:
        values, geometry = read_nifti_picture_mask(path, settings=settings)
    return values_to_mask(place_mask(values, geometry, image, (source.kind, image_source.kind), settings), source, study, site)


def _single_path(source: Source) -> Path:
    if len(source.paths) != 1:
        raise DataError("LBL-FORMAT", "the label consists of several files.", "Give one mask for each image.")
    return source.paths[0]


def _as_label_error(error: DataError) -> DataError:
    """Say that it was the label: the readers do not know what they read."""
    if error.code.startswith("LBL-"):
        return error
    code = "LBL-MISSING" if error.code == "IMG-MISSING" else error.code
    return DataError(code, f"about the label: {error.what}", error.fix)
