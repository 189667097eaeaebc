"""Choice of the sites that take part in a round, by the seed and the sites' names, never by the order in which they connect."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Mapping

from flwr.serverapp import Grid

from medfl.errors import QuorumError
from medfl.system.text import join_names

_MIN_PAUSE, _MAX_PAUSE = 0.05, 1.0  # seconds between two looks for further nodes


def wait_for_sites(grid: Grid, needed: int, wait: float, names: Mapping[int, str]) -> dict[int, str]:
    """Wait until enough sites are connected.

    Parameters
    ----------
    grid : Grid
        The way to the nodes.
    needed : int
        Number of sites that must be connected.
    wait : float
        Seconds to wait at most.
    names : mapping of int to str
        Name of the site behind each node; nodes without one are ignored. If it is empty, every node is called ``node-<id>``.

    Returns
    -------
    dict of int to str
        The sites that are connected, by node, sorted by name.

    Raises
    ------
    QuorumError
        ``TOO-FEW-SITES`` when the time is over; it names the missing sites.
    """
    begin = time.monotonic()
    while True:
        connected = list(grid.get_node_ids())
        sites = {node: names.get(node, f"node-{node}") for node in connected if not names or node in names}
        if len(sites) >= needed:
            return dict(sorted(sites.items(), key=lambda item: (item[1], item[0])))
        waited = time.monotonic() - begin
        if waited >= wait:
            missing = join_names(sorted(set(names.values()) - set(sites.values())))
            raise QuorumError(
                "TOO-FEW-SITES",
                f"{len(sites)} of the {needed} sites that are needed are connected after {wait:g} seconds."
                f"{f' Missing: {missing}.' if missing else ''}",
                "Check that their SuperNodes run, or ask for fewer: 'quorum' of a study, 'min_available_nodes' of a strategy.",
            )
        time.sleep(min(max(_MIN_PAUSE, waited / 20), _MAX_PAUSE, wait - waited))


def choose_sites(sites: Mapping[int, str], fraction: float, min_sites: int, seed: int, purpose: str) -> list[int]:
    """Choose a share of the sites.

    Every site gets a rank from a hash of seed, purpose and its name, and the sites with the lowest ranks are chosen. So the
    choice is the same on every machine, and in a run that was resumed.

    Parameters
    ----------
    sites : mapping of int to str
        Name of the site behind each node.
    fraction : float
        Share to choose, rounded down as in Flower.
    min_sites : int
        Smallest number to choose.
    seed : int
        The seed of the study.
    purpose : str
        Kind and number of the round.

    Returns
    -------
    list of int
        The nodes, in the order of `sites`.

    Examples
    --------
    >>> choose_sites({7: "aachen", 8: "bergen", 9: "cadiz"}, 0.7, 1, seed=0, purpose="train 1")
    [7, 9]
    """
    count = max(math.floor(len(sites) * fraction + 1e-9), min_sites)
    if count >= len(sites):
        return list(sites)
    ranks = {node: hashlib.sha256(f"{seed}|{purpose}|{name}".encode()).digest() for node, name in sites.items()}
    chosen = set(sorted(sites, key=lambda node: ranks[node])[:count])
    return [node for node in sites if node in chosen]
