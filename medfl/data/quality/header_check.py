"""Check of headers alone: geometry, devices, and the problems that need no pixel to be found."""

from __future__ import annotations

from dataclasses import replace

from medfl.data.cases import Case, Source
from medfl.data.classes import annotated_classes
from medfl.data.findings import Finding
from medfl.data.image_extent import read_extent
from medfl.data.library_output import silence_libraries
from medfl.data.load import unreadable_finding
from medfl.data.quality.facts import CaseFacts
from medfl.data.quality.foretelling import foretell_preparing
from medfl.data.quality.imaging_device import read_imaging_device
from medfl.data.quality.label_names import check_label_names
from medfl.data.quality.measure import exclude_case
from medfl.errors import DataError
from medfl.site import Site
from medfl.study import Study


def check_headers(case: Case, study: Study, site: Site) -> CaseFacts:
    """Return the facts in the headers of a case; geometry of a DICOM series and names of labels are checked as in reading.

    Parameters
    ----------
    case : Case
        Case with its split.
    study : Study
        Names the task.
    site : Site
        The hospital.
    """
    amounts = ((case.label, 1.0),) if isinstance(case.label, int) else ()
    known = CaseFacts(case.name, case.patient, case.split, kind=case.image.kind, amounts=amounts)
    try:
        with silence_libraries():
            if isinstance(case.label, Source):
                check_label_names(case.label, study, site)
            extent = read_extent(case.image, study, site)
            known = replace(
                known, annotated=annotated_classes(case.annotated, study, site), size=extent.shape, spacing=extent.spacing
            )
            exact = study.preprocessing.crop == "none"
            prepared, warnings = foretell_preparing(case, *extent.along_patient(), study, site, exact=exact)
            findings = tuple(warning.of_case(case.name) for warning in (*extent.warnings, *warnings))
            return replace(known, device=read_imaging_device(case.image, site), findings=findings, prepared=prepared)
    except DataError as error:
        return exclude_case(known, Finding.from_error(error, case.name))
    except Exception as error:  # a library's own: its text may hold a path or a name
        return exclude_case(known, unreadable_finding(case.name, error))
