"""Files of predicted cases: the mask of an image, or the report of a classified image in DICOM."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from medfl.data.findings import Finding
from medfl.data.mask_formats import MaskFormat, write_mask
from medfl.data.prediction_reports import write_report
from medfl.data.predictions import ModelOrigin
from medfl.data.store.prepared_data import PreparedCase
from medfl.errors import DataError
from medfl.models.predicted_case import PredictedCase
from medfl.site import SiteData
from medfl.study import Study


@dataclass(frozen=True)
class PredictionFiles:
    """How predictions become files.

    Parameters
    ----------
    study : Study
        Gives the classes, and the codes that a DICOM-SEG bears.
    origin : ModelOrigin
        The model, which DICOM names.
    mask_format : {"auto", "nifti", "seg", "labelmap", "png"}
        Format of masks, see `medfl.data.mask_formats`.
    settings : SiteData
        How the site's series are read.
    """

    study: Study
    origin: ModelOrigin
    mask_format: MaskFormat
    settings: SiteData

    def write(self, case: PreparedCase, predicted: PredictedCase, stem: Path) -> tuple[Path | None, list[Finding]]:
        """Write the file of a case, if it has one.

        Parameters
        ----------
        case : PreparedCase
            The case.
        predicted : PredictedCase
            Its prediction.
        stem : Path
            The file without its ending.

        Returns
        -------
        path : Path or None
            The file.
        warnings : list of Finding
            What could not be written as it should.

        Raises
        ------
        DataError
            As `medfl.data.mask_formats.write_mask` and `medfl.data.prediction_reports.write_report`, but for ``PRED-REPORT``.
        """
        image, task = case.case.image, self.study.task
        if predicted.mask is not None and case.source is not None:
            mask, grid, form, codes = predicted.mask, case.source, self.mask_format, task.segment_codes
            return write_mask(mask, grid, image, task.classes, self.origin, stem, form, self.settings, codes)
        if image.kind != "dicom":
            return None, []
        path = stem.with_name(f"{stem.name}.dcm")
        try:
            write_report(predicted.result.probabilities, image, self.origin, path, self.settings)
        except DataError as error:
            if error.code != "PRED-REPORT":
                raise
            return None, [Finding.from_error(error, level="warning")]
        return path, []
