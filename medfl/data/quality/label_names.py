"""Names of labels, as tables and headers give them: whether any is one of a study, which no pixel has to be read for."""

from __future__ import annotations

from medfl.data.cases import Source
from medfl.data.classes import IGNORE, names_to_classes
from medfl.data.dicom.contours import read_roi_names
from medfl.data.dicom.parsing import parse_file
from medfl.data.dicom.references import unreadable_label_error
from medfl.data.dicom.seg import read_segments
from medfl.data.library_output import library_errors_as, silence_libraries
from medfl.errors import DataError
from medfl.site import Site
from medfl.study import Study


def check_label_names(label: Source, study: Study, site: Site) -> None:
    """Refuse a mask whose names cannot be those of the study, whatever its pixels are.

    Of the values of a mask, and of the ROIs of an RTSTRUCT, only those that occur need to be classes: it is refused if none of
    their names is one. Each segment of a DICOM-SEG has to be.

    Raises
    ------
    DataError
        ``LBL-CLASSNAME``; ``LBL-READ`` or ``LBL-VALUES`` for a damaged DICOM label.
    """
    if label.kind == "dicom":
        _check_dicom_names(label, study, site)
    else:
        _refuse_unknown([name for value, name in label.names if value > 0 and name != IGNORE], study, site, "values")


def _check_dicom_names(label: Source, study: Study, site: Site) -> None:
    with silence_libraries(), library_errors_as(unreadable_label_error):
        dataset = parse_file(label.paths[0], stop_before_pixels=True, force=site.data.allow_headerless)
        modality = str(dataset.get("Modality", "")).upper()
        rois = read_roi_names(dataset) if modality == "RTSTRUCT" else {}
    if modality == "SEG":
        read_segments(dataset, study, site)
    _refuse_unknown(list(rois.values()), study, site, "ROIs")


def _refuse_unknown(names: list[str], study: Study, site: Site, things: str) -> None:
    if names and not any(_is_class(name, study, site) for name in names):
        names_to_classes(names, study, site, things)


def _is_class(name: str, study: Study, site: Site) -> bool:
    try:
        names_to_classes([name], study, site, "")
    except DataError:
        return False
    return True
