"""Reading masks onto the grid of their image, checking their values, and telling classes by their text."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medfl.data.cases import Source
from medfl.data.dicom.seg import read_seg
from medfl.data.dicom.series import read_dicom_image
from medfl.data.grids import Values, onto_grid, onto_pixels
from medfl.data.images import read_mask_image
from medfl.data.nifti import read_nifti
from medfl.data.volume import Volume
from medfl.errors import DataError
from medfl.site import Site
from medfl.study import Study

_WHOLE = 1e-6


def read_mask(source: Source, image: Volume, image_source: Source, study: Study, site: Site) -> NDArray[np.uint8]:
    """Read a mask on the grid of its image.

    Parameters
    ----------
    source : Source
        NIfTI, one DICOM-SEG, or an image file for a 2-D study.
    image : Volume
        The image it belongs to, as read.
    image_source : Source
        Where the image came from: a DICOM-SEG must refer to it.
    study : Study
        Names the classes.
    site : Site
        Says whether resampling is allowed, and how segments are called there.

    Returns
    -------
    ndarray
        Class of each voxel, uint8, (X, Y, Z) or (X, Y).

    Raises
    ------
    DataError
        ``LBL-*`` from here, `medfl.data.grids` and `medfl.data.dicom.seg`; the codes of the readers.
    """
    resample = site.data.label_geometry == "resample"
    count = len(study.task.classes)
    try:
        if study.task.dimension == 2:
            values = onto_pixels(_read_flat(source), image.shape, resample=resample)
            mask = check_values(values, count, high_is_one=source.kind == "image")
        elif source.kind == "nifti":
            volume = read_nifti(_one(source))
            mask = check_values(onto_grid(volume.array[0], volume.affine, image, resample=resample), count)
        elif source.kind == "dicom":
            mask = read_seg(_one(source), image, image_source, study, site)
        else:
            raise DataError("LBL-FORMAT", "a 2-D image file can not be the mask of a volume.", "Use NIfTI or DICOM-SEG.")
    except DataError as error:
        raise _about_label(error) from None
    if not mask.any():
        fix = "Was the right file exported? Leave the case out of the index if nothing is to be marked."
        raise DataError("LBL-EMPTY", "the label has no marked voxel.", fix)
    return mask


def check_values(values: Values, classes: int, *, high_is_one: bool = False) -> NDArray[np.uint8]:
    """Return mask values as uint8 after checking that they are classes.

    Parameters
    ----------
    values : ndarray
        Values as stored.
    classes : int
        Number of classes, the background included.
    high_is_one : bool
        Whether a mask of 0 and 255 may stand for background and the one foreground class.

    Raises
    ------
    DataError
        ``LBL-VALUES``.
    """
    if not np.isfinite(values).all():
        raise DataError("LBL-VALUES", "the label holds values that are not numbers.", "Export the label again.")
    found = np.unique(values)
    if np.abs(found - np.round(found)).max(initial=0) > _WHOLE:
        what = "the label holds values that are no whole numbers, so it was resampled with interpolation."
        raise DataError("LBL-VALUES", what, "Export it with nearest neighbour.")
    if high_is_one and classes == 2 and 255 in found and set(found.tolist()) <= {0.0, 255.0}:
        return np.asarray(values == 255, dtype=np.uint8)
    foreign = np.count_nonzero((found < 0) | (found >= classes))
    if foreign:
        what = f"the label holds {foreign} value(s) that are no class; classes run from 0 to {classes - 1}."
        raise DataError("LBL-VALUES", what, "Export the label with the values of the study, and not as JPEG.")
    return np.asarray(np.round(values), dtype=np.uint8)


def class_index(text: str, classes: Sequence[str], local: Sequence[str] = ()) -> int:
    """Return the class that a text of an index names.

    Parameters
    ----------
    text : str
        A name of the site, a name of the study, or the number of a class.
    classes : sequence of str
        Names of the study.
    local : sequence of str
        Names that the site uses, in the order of the study's; empty when they are the same.

    Raises
    ------
    DataError
        ``LBL-MISSING`` for an empty text, ``LBL-CLASS`` for one that names no class.

    Examples
    --------
    >>> class_index("Benign", ["benign", "malignant"])
    0
    >>> class_index("B", ["benign", "malignant"], ["G", "B"])
    1
    >>> class_index("1", ["benign", "malignant"])
    1
    """
    wanted = text.strip().casefold()
    if not wanted:
        raise DataError("LBL-MISSING", "the image has no label.", "Add the label, or leave the case out of the index.")
    for names in (local, classes):
        folded = [name.casefold() for name in names]
        if wanted in folded:
            return folded.index(wanted)
    number = wanted.removesuffix(".0")  # a spreadsheet writes 1 as 1.0
    if number.isascii() and number.isdigit() and int(number) < len(classes):
        return int(number)
    fix = f"Use one of {', '.join(local or classes)}, or set 'classes' in site.toml."
    raise DataError("LBL-CLASS", "the label is not one of the classes of the study.", fix)


def _read_flat(source: Source) -> Values:
    path = _one(source)
    if source.kind == "image":
        return read_mask_image(path)
    if source.kind == "nifti":
        return np.asarray(read_nifti(path, dimension=2).array[0], dtype=np.float32)
    return np.asarray(read_dicom_image(path).array[0], dtype=np.float32)


def _one(source: Source) -> Path:
    if len(source.paths) != 1:
        raise DataError("LBL-FORMAT", "the label consists of several files.", "Give one mask for each image.")
    return source.paths[0]


def _about_label(error: DataError) -> DataError:
    """Say that it was the label: the readers do not know what they read."""
    if error.code.startswith("LBL-"):
        return error
    code = "LBL-MISSING" if error.code == "IMG-MISSING" else error.code
    return DataError(code, f"about the label: {error.what}", error.fix)
