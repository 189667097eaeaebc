"""Collection of fingerprints before a study: the server asks every site what its images are like, and merges the answers."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from flwr.app import ConfigRecord, RecordDict
from flwr.serverapp import Grid

from medfl.errors import ExchangeError, QuorumError
from medfl.messages import records
from medfl.messages.replies import describe_refusal, read_excluded
from medfl.planning.fingerprint import Fingerprint, Scope, check_scope, merge
from medfl.planning.fingerprint_serialization import from_content
from medfl.server.federation import query
from medfl.server.joining import wait_for_nodes
from medfl.site import SITE_NAME_PATTERN
from medfl.study import Study

Progress = Callable[[int, int], None]  # sites that answered, sites in all


@dataclass(frozen=True)
class CollectedFingerprints:
    """Fingerprints and refusals of the sites.

    Parameters
    ----------
    fingerprints : dict of str to Fingerprint
        Fingerprints by name of the site, in the order of the names.
    refused : dict of str to str
        Why there is none, by node: a site that refuses does not give its name either.
    excluded : dict of str to dict
        Cases that each site left out, by code, as counts of `medfl.messages.counts`.
    """

    fingerprints: dict[str, Fingerprint]
    refused: dict[str, str]
    excluded: dict[str, dict[str, int]]

    def merge(self) -> Fingerprint:
        """Return the fingerprint of all cases together.

        Raises
        ------
        QuorumError
            ``TOO-FEW-SITES`` when no site sent one.
        """
        if not self.fingerprints:
            what = f"none of {len(self.refused)} sites sent a fingerprint of its images ({'; '.join(self.refused.values())})."
            raise QuorumError("TOO-FEW-SITES", what, "The sites' own logs say why.")
        return merge(self.fingerprints.values())


def collect_fingerprints(grid: Grid, study: Study, expected: int, progress: Progress | None = None) -> CollectedFingerprints:
    """Ask every node for the fingerprint of its images.

    Parameters
    ----------
    grid : Grid
        The way to the nodes.
    study : Study
        The segmentation study that is to be planned.
    expected : int
        Nodes to wait for, at most for the time that the study allows.
    progress : callable, optional
        Called after each answer.

    Raises
    ------
    QuorumError
        ``SITE-TWICE`` when two nodes give one name: their cases would count twice.
    """
    nodes = wait_for_nodes(grid, expected, study.strategy.wait)
    labels = {node: f"node-{k}" for k, node in enumerate(nodes, start=1)}
    question = RecordDict({records.CONFIG: ConfigRecord({})})
    fingerprints: dict[str, Fingerprint] = {}
    refused: dict[str, str] = {}
    excluded: dict[str, dict[str, int]] = {}
    answers = query(grid, records.FINGERPRINT, dict.fromkeys(nodes, question), study.strategy.deadline)
    for done, (node, answer) in enumerate(answers, start=1):
        if progress:
            progress(done, len(nodes))
        if isinstance(answer, str):
            refused[labels[node]] = answer
            continue
        try:
            name, fingerprint = _parse_fingerprint_reply(answer, study)
        except ExchangeError as refusal:
            refused[labels[node]] = describe_refusal(refusal)
            continue
        if name in fingerprints:
            raise QuorumError("SITE-TWICE", f"two nodes say that they are {name!r}.", "Give every site.toml its own name.")
        fingerprints[name], excluded[name] = fingerprint, read_excluded(answer)
    return CollectedFingerprints(
        dict(sorted(fingerprints.items())), dict(sorted(refused.items())), dict(sorted(excluded.items()))
    )


def _parse_fingerprint_reply(answer: RecordDict, study: Study) -> tuple[str, Fingerprint]:
    site = answer.get(records.SITE)
    name = str(site.get("name", "")) if isinstance(site, ConfigRecord) else ""
    if not re.fullmatch(SITE_NAME_PATTERN, name):
        raise ExchangeError("SITE-NAME", "the name that this node gives is not a valid name of a site.")
    fingerprint = from_content(answer)
    check_scope(fingerprint, Scope.from_study(study))
    return name, fingerprint
