"""Seeds of everything random at a site, derived from names and numbers alone."""

from __future__ import annotations

import hashlib

import numpy as np


def derive_seed(study_seed: int, site: str, server_round: int) -> int:
    """Derive the seed of a site in a round.

    It depends on nothing else, so that neither the order in which messages arrive nor the machine changes a result.

    Parameters
    ----------
    study_seed : int
        ``seed`` of the study.
    site : str
        Name of the site.
    server_round : int
        Number of the round, from 1.

    Examples
    --------
    >>> derive_seed(1, "hospital-a", 3) == derive_seed(1, "hospital-a", 3) != derive_seed(1, "hospital-b", 3)
    True
    """
    text = f"{study_seed}\x1f{site}\x1f{server_round}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:6], "big")


def spawn_seed(seed: int, stream: int) -> int:
    """Return the seed of one of several independent streams of random numbers under one seed."""
    return int(np.random.SeedSequence([seed, stream]).generate_state(1, np.uint64)[0] >> np.uint64(1))
