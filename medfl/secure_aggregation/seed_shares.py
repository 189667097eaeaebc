"""Shares of seeds: so many of them give the seed, fewer tell nothing (Shamir 1979, over GF(2**128), by pycryptodome)."""

from __future__ import annotations

from collections.abc import Mapping

from Crypto.Protocol.SecretSharing import Shamir

SEED_BYTES = 16


def split_seed(seed: bytes, threshold: int, members: int) -> dict[int, bytes]:
    """Return the share of each member of a roster, by position from 1.

    Parameters
    ----------
    seed : bytes
        16 bytes.
    threshold : int
        Shares that give the seed.
    members : int
        Shares to make.
    """
    return dict(Shamir.split(threshold, members, seed, ssss=False))


def combine_shares(shares: Mapping[int, bytes], threshold: int) -> bytes:
    """Return the seed that shares give; what was not split from one seed gives another, so compare it with what was promised.

    Parameters
    ----------
    shares : mapping of int to bytes
        At least as many shares as the threshold, by position.
    threshold : int
        As in `split_seed`.

    Raises
    ------
    ValueError
        For fewer shares.
    """
    if len(shares) < threshold:
        raise ValueError("too few shares")
    return bytes(Shamir.combine([(position, shares[position]) for position in sorted(shares)[:threshold]], ssss=False))
