"""The masks that are left in a sum: put together from shares, held against what the site promised, and taken away."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from medfl.errors import SecureAggregationError
from medfl.secure_aggregation.attempt import Attempt
from medfl.secure_aggregation.attempt_secrets import mask_private_key, public_key, self_mask_commitment
from medfl.secure_aggregation.masks import MaskBinding
from medfl.secure_aggregation.messages import KeyAdvertisement
from medfl.secure_aggregation.seed_shares import combine_shares
from medfl.secure_aggregation.vector import ModularVector


def remove_self_mask(
    total: ModularVector,
    binding: MaskBinding,
    attempt: Attempt,
    survivor: KeyAdvertisement,
    shares: Mapping[int, bytes],
    threshold: int,
) -> None:
    """Take the mask of a survivor itself from a sum, in place.

    Parameters
    ----------
    total : ModularVector
        The sum.
    binding : MaskBinding
        What the masks were derived from.
    attempt : Attempt
        The attempt.
    survivor : KeyAdvertisement
        Keys of the survivor.
    shares : mapping of int to bytes
        Shares of its self-mask seed, by position in the roster.
    threshold : int
        Shares that give the seed.

    Raises
    ------
    SecureAggregationError
        ``SECAGG-RECONSTRUCTION`` when they do not give the seed that it promised.
    """
    seed = _combine(shares, threshold, survivor.site)
    if self_mask_commitment(seed, attempt, survivor.site) != survivor.commitment:
        raise _refuse(survivor.site)
    binding.add_self_mask(total, seed, survivor.site, sign=-1)


def remove_pairwise_masks(
    total: ModularVector,
    binding: MaskBinding,
    attempt: Attempt,
    dropped: KeyAdvertisement,
    survivors: Sequence[KeyAdvertisement],
    shares: Mapping[int, bytes],
    threshold: int,
) -> None:
    """Take from a sum, in place, the masks that survivors have with a site that dropped out.

    Parameters
    ----------
    total, binding, attempt, shares, threshold
        As in `remove_self_mask`, with shares of the mask seed of the site that dropped out.
    dropped : KeyAdvertisement
        Keys of the site that dropped out.
    survivors : sequence of KeyAdvertisement
        Keys of the survivors.

    Raises
    ------
    SecureAggregationError
        ``SECAGG-RECONSTRUCTION`` when they do not give the key that it advertised.
    """
    private = mask_private_key(_combine(shares, threshold, dropped.site), attempt, dropped.site)
    if public_key(private) != dropped.mask_key:
        raise _refuse(dropped.site)
    for survivor in survivors:
        binding.add_pairwise_mask(total, private, survivor.mask_key, (survivor.site, dropped.site), sign=-1)


def _combine(shares: Mapping[int, bytes], threshold: int, site: str) -> bytes:
    try:
        return combine_shares(shares, threshold)
    except (ValueError, TypeError):
        raise _refuse(site) from None


def _refuse(site: str) -> SecureAggregationError:
    what = f"shares of {site!r} do not give the secret that it promised: a site does not keep to the protocol."
    return SecureAggregationError(
        "SECAGG-RECONSTRUCTION", what, "Repeat the round as a new attempt, without that site if it comes again."
    )
