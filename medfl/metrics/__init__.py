"""Scores of a site as counts and means over patients, so that sums over sites are exact."""

from medfl.metrics.classification import classification_metrics
from medfl.metrics.derived import confusion_matrix, derive, has_surface_metrics, headline, roc_curve_points
from medfl.metrics.keys import as_personal, class_key, class_keys, hides_score, personal_part
from medfl.metrics.merging import check, empty_metrics, merge
from medfl.metrics.score_bounds import score_errors
from medfl.metrics.segmentation import CaseScore, segmentation_metrics, segmentation_scores

__all__ = [
    "CaseScore",
    "as_personal",
    "check",
    "class_key",
    "class_keys",
    "classification_metrics",
    "confusion_matrix",
    "derive",
    "empty_metrics",
    "has_surface_metrics",
    "headline",
    "hides_score",
    "merge",
    "personal_part",
    "roc_curve_points",
    "score_errors",
    "segmentation_metrics",
    "segmentation_scores",
]
