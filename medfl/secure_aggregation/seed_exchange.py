"""Seeds of a site, split among the sites of the roster and encrypted for each of them."""

from __future__ import annotations

from collections.abc import Mapping

from medfl.secure_aggregation.attempt_secrets import AttemptSecrets
from medfl.secure_aggregation.messages import EncryptedShares, KeyList, digest_keys
from medfl.secure_aggregation.roster import Roster
from medfl.secure_aggregation.seed_shares import split_seed
from medfl.secure_aggregation.share_encryption import Envelope

SharePair = tuple[bytes, bytes]  # shares of a mask seed and of a self-mask seed


def seal_shares(
    attempt: str, site: str, secrets: AttemptSecrets, keys: KeyList, roster: Roster
) -> tuple[EncryptedShares, SharePair]:
    """Return a site's shares for the other sites of a list of keys, and the pair that it holds itself.

    Parameters
    ----------
    attempt : str
        Digest of the attempt.
    site : str
        The site whose seeds are shared.
    secrets : AttemptSecrets
        Its secrets.
    keys : tuple of KeyAdvertisement
        Verified keys of all sites of the attempt.
    roster : Roster
        Roster of the run: it numbers the shares and says how many give a seed.
    """
    mask_shares, self_mask_shares = (
        split_seed(seed, roster.threshold, len(roster.members)) for seed in (secrets.mask_seed, secrets.self_mask_seed)
    )
    pairs = {name: (mask_shares[roster.position(name)], self_mask_shares[roster.position(name)]) for name in roster.names}
    seen = digest_keys(keys)
    sealed = {
        key.site: Envelope(attempt, seen, site, key.site).seal(*pairs[key.site], secrets.cipher_key, key.cipher_key)
        for key in keys
        if key.site != site
    }
    return EncryptedShares(attempt, site, sealed), pairs[site]


def open_shares(
    attempt: str, site: str, secrets: AttemptSecrets, keys: KeyList, shares: Mapping[str, bytes]
) -> dict[str, SharePair]:
    """Return what other sites shared with a site, by their names; the first four parameters are those of `seal_shares`.

    Parameters
    ----------
    shares : mapping of str to bytes
        Encrypted pairs for this site, by sender.

    Raises
    ------
    SecureAggregationError
        ``SECAGG-SHARE``.
    """
    senders, seen = {key.site: key.cipher_key for key in keys}, digest_keys(keys)
    return {
        sender: Envelope(attempt, seen, sender, site).open(sealed, secrets.cipher_key, senders[sender])
        for sender, sealed in shares.items()
    }
