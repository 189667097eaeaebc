"""Arithmetic on the replies of a round: means, medians, robust rules.

A mean adds each reply as it arrives (`ExactMean`, `FloatMean`). A rule that needs all replies at once keeps them on disk
(`DiskReplies`) and reads them block by block (`median`, `trimmed_mean`, `geometric_median`, the distances). Either way memory
does not grow with the number of replies.
"""

from medfl.aggregate.disk_replies import DiskReplies
from medfl.aggregate.distances import combine, distance, distances, inner_products, squared_distances
from medfl.aggregate.float_parts import short_weight
from medfl.aggregate.means import MEANS, ExactMean, FloatMean, Mean, MeanName
from medfl.aggregate.order_statistics import median, trimmed_mean
from medfl.aggregate.weiszfeld import geometric_median

__all__ = [
    "MEANS",
    "DiskReplies",
    "ExactMean",
    "FloatMean",
    "Mean",
    "MeanName",
    "combine",
    "distance",
    "distances",
    "geometric_median",
    "inner_products",
    "median",
    "short_weight",
    "squared_distances",
    "trimmed_mean",
]
