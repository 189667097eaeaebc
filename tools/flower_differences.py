"""Table of the differences in behaviour between strategies of medfl and Flower's classes of the same name.

Each is shown by the test of `tests/strategies/test_differences_from_flower.py` that bears its key.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Difference:
    """One intended difference.

    Parameters
    ----------
    key : str
        Names the test that shows it.
    classes : str
        Classes that it concerns.
    situation, flower, medfl : str
        The situation, what Flower's class does, and what medfl's does.
    """

    key: str
    classes: str
    situation: str
    flower: str
    medfl: str


_ALL, _OPTIMIZERS = "all", "FedAvgM, FedAdam, FedYogi, FedAdagrad"

DIFFERENCES = (
    Difference(
        "order-of-arrival",
        _ALL,
        "replies arrive in another order",
        "the last bits of the model change",
        "no bit changes: the sum is exact and rounded once, and names decide between equals",
    ),
    Difference(
        "integer-tensors",
        _ALL,
        "a tensor of integers, such as a counter of BatchNorm",
        "averaged into floats",
        "keeps its type, and becomes the largest value of the replies that make up the model",
    ),
    Difference(
        "buffers",
        f"{_OPTIMIZERS}, QFedAvg, Krum, MultiKrum",
        "a model has running statistics of BatchNorm, or other tensors that `parameter_names` does not name",
        "optimised, or counted in norms and distances, like parameters, so that variances may turn negative",
        "averaged, with Krum the coordinate-wise median, and counted in no norm and no distance",
    ),
    Difference(
        "precision",
        "all that average",
        "values of replies cancel, or differ much in size",
        "rounded after each reply, in the tensor's type",
        "the sums are exact and rounded once, so that no value vanishes beside another; weights that are no whole numbers are "
        "rounded to 29 bits; `mean='float'` rounds after each reply",
    ),
    Difference(
        "value-range",
        "all that average",
        "weight times value of a reply is beyond 2^-10 of the largest float32 (of float64, for such tensors)",
        "averaged",
        "averaged; `mean='float'` leaves it out, as diverged",
    ),
    Difference(
        "far-replies",
        _OPTIMIZERS,
        "a value of a reply is beyond 2^60 (1.2e18), and beyond 1024 times the largest of the model",
        "moments and model become infinite, in this round or a later one",
        "that reply is left out, as diverged",
    ),
    Difference(
        "infinite-results",
        _ALL,
        "the new model, or what the next round needs besides it, is not finite",
        "sent to the sites",
        "QuorumError; the strategy is as it was before the round",
    ),
    Difference(
        "weight-range",
        _ALL,
        "a weight is below 2^-10 or above 2^53",
        "averaged, or not looked at",
        "left out: weights are counts of patients or samples",
    ),
    Difference(
        "bad-replies",
        _ALL,
        "a reply is not finite, of another shape, or lacks a metric",
        "averaged as it is, or ends the run",
        "left out, with a code and a reason in `last_round`",
    ),
    Difference(
        "weight-zero",
        _ALL,
        "a reply has the weight 0",
        "takes part where weights do not count; alone it ends the run",
        "left out: nothing was trained",
    ),
    Difference(
        "no-reply",
        _ALL,
        "no reply of a training round can be counted",
        "the run goes on with the old model and ends as if it had trained",
        "QuorumError; `quorum` asks for more replies than one",
    ),
    Difference(
        "evaluation-not-finite",
        _ALL,
        "a metric of an evaluation is not finite",
        "the mean is not finite either",
        "that reply is left out",
    ),
    Difference(
        "private-noise",
        _ALL,
        "inside Flower's central differential privacy some replies do not count, their weights differ, the rule is no mean, a "
        "transform may lengthen updates, or the tensors of a reply come in another order",
        "releases what the noise does not hide",
        "refused: nothing is released",
    ),
    Difference(
        "too-few-nodes",
        _ALL,
        "fewer nodes are connected than a training round needs",
        "waits without end",
        "QuorumError after `wait` seconds, which names the missing sites",
    ),
    Difference(
        "nobody-asked",
        _ALL,
        "`min_train_nodes` is 0, and the share comes to no node",
        "asks nobody, and goes on",
        "asks as many as the quorum",
    ),
    Difference(
        "sampling",
        _ALL,
        "a share of the nodes takes part",
        "drawn anew in every run; the share is of those that were connected at the first look",
        "drawn by `seed`, round and name; the share is of those that are connected once there are enough",
    ),
    Difference(
        "metric-functions",
        _ALL,
        "`train_metrics_aggr_fn` and `evaluate_metrics_aggr_fn` are called",
        "with the whole replies",
        "with their metrics alone, in the order of the sites' names, and only those that all replies have",
    ),
    Difference(
        "several-array-records",
        _ALL,
        "a reply holds several array records",
        "ends the run",
        "the one called `arrays` is the model; the others are for the strategy",
    ),
    Difference(
        "not-configured",
        _ALL,
        "`aggregate_train` is called without `configure_train`",
        "aggregates",
        "ExchangeError: nobody was asked",
    ),
    Difference(
        "config-record",
        _ALL,
        "a ConfigRecord is handed in",
        "the number of the round, or `proximal-mu`, is written into it",
        "a copy is sent",
    ),
    Difference(
        "optimizer-start",
        "FedAvgM",
        "a round begins with another model than the last one ended with",
        "goes on from the model that it made itself",
        "goes on from the model that it is given",
    ),
    Difference(
        "optimizer-state",
        _OPTIMIZERS,
        "the server stops and goes on",
        "the moments are lost",
        "they are part of `state`, and the run goes on to the same bits",
    ),
    Difference(
        "nothing-trimmed",
        "FedTrimmedAvg",
        "`beta` times the number of replies is below 1",
        "averages everything",
        "QuorumError, unless `beta` is 0",
    ),
    Difference(
        "krum-too-few",
        "Krum, MultiKrum",
        "fewer than 2 f + 3 replies, where f > 0 may be malicious",
        "selects, although the paper promises nothing",
        "QuorumError",
    ),
    Difference(
        "krum-distances",
        "Krum, MultiKrum",
        "updates are small beside the model",
        "float32 loses their distances, which may come out negative",
        "distances are those of the differences, of floating-point tensors alone",
    ),
    Difference(
        "krum-select-all",
        "MultiKrum",
        "`num_nodes_to_select` is 0",
        "makes an empty model",
        "selects all but `num_malicious_nodes`",
    ),
    Difference(
        "krum-select-too-many",
        "MultiKrum",
        "`num_nodes_to_select` and `num_malicious_nodes` together exceed the replies",
        "selects as many as there are",
        "QuorumError",
    ),
    Difference(
        "krum-metrics",
        "Krum, MultiKrum",
        "the metrics of a round",
        "of the selected replies",
        "of all counted replies",
    ),
    Difference(
        "loss-missing",
        "QFedAvg",
        "a reply lacks its loss, or it is negative or not finite",
        "ends the run, or makes a model that is not finite",
        "that reply is left out",
    ),
)
