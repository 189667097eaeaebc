"""Table of what becomes of a network with BatchNorm under each strategy and transform, in a Flower app that sends it whole.

Each row is shown by `tests/strategies/test_batchnorm_networks.py`: five rounds at sites whose variances differ by 10^6, one of
which drops out.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Outcome:
    """What becomes of the running statistics.

    Parameters
    ----------
    name : str
        A class of `medfl.strategies`, or of Flower for the wrappers around a strategy.
    statistics : str
        What the running means and variances of the new model are, or why the run is refused.
    code : str
        Code with which the run is refused before the first round; empty when it runs.
    """

    name: str
    statistics: str
    code: str = ""


_MEAN, _MEDIAN = "the weighted mean of the replies", "the coordinate-wise median of all replies"
_OPTIMIZER = f"{_MEAN}; the optimizer leaves them alone"
_CODEC = "what the codec loses may turn a variance negative"
_PRIVATE = "noise may turn a variance negative, and without noise they would not be private"

OUTCOMES = (
    Outcome("FedAvg", _MEAN),
    Outcome("FedProx", _MEAN),
    Outcome("FedAvgM", _OPTIMIZER),
    Outcome("FedAdam", _OPTIMIZER),
    Outcome("FedYogi", _OPTIMIZER),
    Outcome("FedAdagrad", _OPTIMIZER),
    Outcome("FedNova", f"{_MEAN}, whatever the number of steps"),
    Outcome("QFedAvg", "the mean of the replies, weighted by loss; not in the norms"),
    Outcome("FedCostWAvg", "the mean of the replies, with the rule's weights"),
    Outcome("FedPIDAvg", "the mean of the replies, with the rule's weights"),
    Outcome("Scaffold", f"{_MEAN}; they have no control variate"),
    Outcome("FedDyn", f"{_MEAN}; they have no drift"),
    Outcome("FedMedian", _MEDIAN),
    Outcome("FedTrimmedAvg", "the trimmed mean of all replies"),
    Outcome("Krum", f"{_MEDIAN}; not in the distances"),
    Outcome("MultiKrum", f"{_MEDIAN}; not in the distances"),
    Outcome("Rfa", f"{_MEDIAN}; not in the distances"),
    Outcome("Cyclic", "those of the last site"),
    Outcome("FedBuff", "the mean of the replies, the older the less weight"),
    Outcome("LocalOnly", "each site's own"),
    Outcome("ClipNorm", f"{_MEAN}, which pass as they came; not in the norm"),
    Outcome("NormOutlierFilter", f"{_MEAN} that are kept; not in the norm"),
    Outcome("Bf16", _CODEC, "CODEC-BUFFERS"),
    Outcome("Int8", _CODEC, "CODEC-BUFFERS"),
    Outcome("TopK", _CODEC, "CODEC-BUFFERS"),
    Outcome("DifferentialPrivacyServerSideFixedClipping", _PRIVATE, "PRIVACY-BUFFERS"),
    Outcome("DifferentialPrivacyServerSideAdaptiveClipping", _PRIVATE, "PRIVACY-BUFFERS"),
    Outcome("DifferentialPrivacyClientSideFixedClipping", _PRIVATE, "PRIVACY-BUFFERS"),
    Outcome("DifferentialPrivacyClientSideAdaptiveClipping", _PRIVATE, "PRIVACY-BUFFERS"),
)
