"""What is told of predictions that medfl wrote itself, where they lie among the data: they are passed over."""

from __future__ import annotations

from collections.abc import Collection

from medfl.data.findings import Finding
from medfl.data.prediction_marks import ALLOW_PREDICTIONS
from medfl.system.text import plural


def predicted_labels_warning(count: int) -> Finding:
    """Return the warning about segmentations by medfl, which are labels of no series."""
    what = f"{plural(count, 'segmentation')} that medfl predicted: passed over as no truth to learn from."
    return Finding.warning("LBL-PREDICTED", what, ALLOW_PREDICTIONS)


def prediction_folder_warnings(folders: Collection[str]) -> list[Finding]:
    """Return the warning about folders of predictions in a data folder, if there are any."""
    if not folders:
        return []
    what = f"{plural(len(folders), 'folder')} of predictions by medfl in the data folder: passed over."
    return [Finding.warning("DATA-PREDICTIONS", what, "Nothing to do. Better keep predictions outside of the data folder.")]
