"""Measures of contribution: how well each site's update agrees with the others, or what the model loses without it.

The replies of a round are kept on disk until it is over. The models that fewer sites would have made are weighted means of
these replies, and all sites score each of them on their validation patients; no test patient is used.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from flwr.app import ArrayRecord
from numpy.typing import NDArray

from medfl import metrics
from medfl.aggregate import DiskReplies, combine, distances, squared_distances
from medfl.messages.records import Metrics, RoundRecord, to_array_record
from medfl.server.federation import Federation
from medfl.strategies.transforms.reply_recorder import ReplyRecorder
from medfl.study import Study

Coalition = frozenset[str]


class Contributions:
    """Measure the contributions of the sites in the rounds for which the study asks for it.

    Parameters
    ----------
    federation : Federation
        The sites; its study says how to measure, and in which rounds.

    Attributes
    ----------
    recorder : ReplyRecorder
        Recorder, to be the last transform of the strategy.

    Raises
    ------
    ConfigError
        When Shapley values of too many sites are asked for.
    """

    def __init__(self, federation: Federation) -> None:
        self._federation, self._method = federation, federation.study.contribution.method
        federation.study.contribution.check_sites(len(federation.sites))
        self.recorder = ReplyRecorder(federation.study.contribution.every)

    def measure(self, record: RoundRecord, result: ArrayRecord) -> dict[str, Any]:
        """Return the event of the history for a round; an empty one when the round is not to be measured.

        Parameters
        ----------
        record : RoundRecord
            The round, with the replies that counted.
        result : ArrayRecord
            The model of the round.

        Returns
        -------
        dict
            ``sites`` with the ``value`` of each, null where it is not defined; ``gain``, the contribution of all sites
            together; and the cost: ``models`` that were scored, ``bytes-down`` and ``seconds``.
        """
        replies, started = self.recorder.replies, time.monotonic()
        if replies is None:
            return {}
        counted = {reply.site: reply.weight for reply in sorted(record.counted, key=lambda r: r.site)}
        try:
            if self._method == "alignment":
                measured: dict[str, Any] = {"sites": alignments(replies, counted), "models": 0, "bytes-down": 0}
            else:
                measured = self._evaluate_coalitions(replies, counted, result, record.round)
        finally:
            self.recorder.close()
        about = {"event": "contribution", "round": record.round, "method": self._method}
        return about | measured | {"seconds": time.monotonic() - started}

    def _evaluate_coalitions(
        self, replies: DiskReplies, weights: Mapping[str, float], result: ArrayRecord, server_round: int
    ) -> dict[str, Any]:
        sites, sent = tuple(weights), 0
        coalitions = all_coalitions(sites) if self._method == "shapley" else leave_one_out_coalitions(sites)
        answers: dict[Coalition, dict[str, Metrics]] = {}
        for coalition in coalitions:
            model = result if len(coalition) == len(sites) else _coalition_model(replies, weights, coalition)
            answers[coalition] = self._federation.evaluate(model, "validation", "federated", server_round, trial=True)
            sent += model.count_bytes() * len(self._federation.sites)
        utility = _utilities(self._federation.study, answers)
        values = shapley(utility, sites) if self._method == "shapley" else leave_one_out(utility, sites)
        gain = utility[frozenset(sites)] - utility.get(frozenset(), math.nan)
        entries = {site: {"value": value} for site, value in values.items()}
        return {"sites": entries, "gain": gain, "models": len(answers), "bytes-down": sent}


def alignments(replies: DiskReplies, weights: Mapping[str, float]) -> dict[str, dict[str, float]]:
    """Compare each update with those of the others.

    Parameters
    ----------
    replies : DiskReplies
        The replies, and the model that was sent as its reference.
    weights : mapping of str to float
        Weights of the replies that counted, by site.

    Returns
    -------
    dict of str to dict
        ``value``: cosine of the angle between the site's update and the weighted mean of the other updates, nan where one of
        the two is zero. ``norm-share``: norm times weight of its update, as a share of the sum over all sites.
    """
    rows = [replies.sites.index(site) for site in weights]
    norms = np.array([distances(replies, replies.reference)[site] for site in weights])
    gaps = squared_distances(replies)[np.ix_(rows, rows)]
    products = (norms[:, None] ** 2 + norms[None, :] ** 2 - gaps) / 2  # inner products of the updates
    shares = np.array(list(weights.values()))
    pulls = shares * norms
    measured = {}
    for k, site in enumerate(weights):
        others = np.where(np.arange(len(rows)) == k, 0.0, shares)
        measured[site] = {
            "value": _cosine(products, k, others),
            "norm-share": float(pulls[k] / pulls.sum()) if pulls.any() else math.nan,
        }
    return measured


def shapley(utility: Mapping[Coalition, float], players: Sequence[str]) -> dict[str, float]:
    """Return the Shapley value of each player: its marginal gain, averaged over all orders in which players may join.

    Shapley 1953; for the rounds of a federation Wang et al. 2020, https://arxiv.org/abs/2009.06192. The values add up to the
    gain of all players over none.

    Parameters
    ----------
    utility : mapping of frozenset to float
        Utility of every coalition, including the empty one.
    players : sequence of str
        All players.

    Examples
    --------
    >>> gloves = {frozenset(): 0, frozenset("l"): 0, frozenset("r"): 0, frozenset("lr"): 1}
    >>> shapley(gloves, "lr")
    {'l': 0.5, 'r': 0.5}
    """
    orders = math.factorial(len(players))
    values = {}
    for player in players:
        others = list(all_coalitions([other for other in players if other != player]))
        gains = (
            math.factorial(len(c)) * math.factorial(len(players) - len(c) - 1) * (utility[c | {player}] - utility[c])
            for c in others
        )
        values[player] = math.fsum(gains) / orders
    return values


def leave_one_out(utility: Mapping[Coalition, float], players: Sequence[str]) -> dict[str, float]:
    """Return by how much the utility of all players falls without each."""
    everyone = frozenset(players)
    return {player: utility[everyone] - utility[everyone - {player}] for player in players}


def all_coalitions(sites: Sequence[str]) -> Iterator[Coalition]:
    """Yield every subset of the sites, from the empty one to all."""
    return (frozenset(chosen) for size in range(len(sites) + 1) for chosen in itertools.combinations(sites, size))


def leave_one_out_coalitions(sites: Sequence[str]) -> Iterator[Coalition]:
    """Yield the set of all sites, and for each site the set of all others."""
    return (frozenset(sites) - left_out for left_out in (frozenset(), *({site} for site in sites)))


def _coalition_model(replies: DiskReplies, weights: Mapping[str, float], coalition: Coalition) -> ArrayRecord:
    """Return the weighted mean of the replies of a coalition; for the empty one the model that was sent."""
    if not coalition:
        return to_array_record(replies.reference)
    total = math.fsum(weights[site] for site in coalition)
    return to_array_record(combine(replies, {site: weights[site] / total for site in coalition}))


def _utilities(study: Study, answers: Mapping[Coalition, Mapping[str, Metrics]]) -> dict[Coalition, float]:
    """Return the headline score of every model over the sites that scored all models; nan if there is none."""
    complete = sorted(set.intersection(*(set(answer) for answer in answers.values())))
    merged = {coalition: [answer[site] for site in complete] for coalition, answer in answers.items()}
    return {c: metrics.headline(study, metrics.merge(study, values)) if values else math.nan for c, values in merged.items()}


def _cosine(products: NDArray[np.float64], k: int, weights: NDArray[np.float64]) -> float:
    """Return the cosine between update `k` and the weighted sum of updates, given the inner products of all updates."""
    square = products[k, k] * float(np.einsum("i,ij,j->", weights, products, weights))
    if not square > 0:
        return math.nan
    return min(1.0, max(-1.0, float(np.einsum("i,i->", weights, products[k])) / math.sqrt(square)))
