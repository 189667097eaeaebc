"""What a site refuses: each check is one layer against a server that deviates from the protocol."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from medfl.errors import SecureAggregationError
from medfl.secure_aggregation.attempt import Attempt
from medfl.secure_aggregation.attempt_secrets import KEY_BYTES
from medfl.secure_aggregation.messages import KeyAdvertisement, KeyList
from medfl.secure_aggregation.roster import MIN_SURVIVORS, Roster
from medfl.secure_aggregation.signing import is_signed_by


def require_advertisement(key: KeyAdvertisement, attempt: Attempt, roster: Roster) -> None:
    """Refuse keys that a site of the roster did not sign for this attempt.

    Raises
    ------
    SecureAggregationError
        ``SECAGG-STRANGER``, ``SECAGG-ATTEMPT``, ``SECAGG-KEYS`` or ``SECAGG-SIGNATURE``.
    """
    roster.require([key.site])
    attempt.require(key.attempt)
    if not all(isinstance(part, bytes) and len(part) == KEY_BYTES for part in (key.cipher_key, key.mask_key, key.commitment)):
        raise _keys_error(f"the keys of {key.site!r} are not of the size that they have.")
    if not is_signed_by(key.signature, key.text(attempt), roster.keys[key.site]):
        raise signature_error(key.site, "its keys")


def require_keys(keys: KeyList, own: KeyAdvertisement, attempt: Attempt, roster: Roster) -> None:
    """Refuse a list of keys that is not one of sites of the roster, with this site's own keys, and above the threshold."""
    for key in keys:
        require_advertisement(key, attempt, roster)
    names = [key.site for key in keys]
    publics = [public for key in keys for public in (key.cipher_key, key.mask_key)]
    if names != sorted(set(names)) or len(set(publics)) < len(publics):
        raise _keys_error("a site or a key stands in the list of keys twice, or the list is not sorted.")
    if own not in keys:
        raise _keys_error("the list of keys lacks those of this site, or has others in their place.")
    require_enough(names, roster)


def require_enough(names: Collection[str], roster: Roster, min_sites: int = MIN_SURVIVORS) -> None:
    """Refuse a stage with fewer sites than the threshold, than three, or than the site's policy: ``SECAGG-THRESHOLD``."""
    needed = max(roster.threshold, min_sites, MIN_SURVIVORS)
    if len(names) < needed:
        missing = ", ".join(name for name in roster.names if name not in names)
        what = f"{len(names)} of {len(roster.names)} sites take part, and {needed} must; missing: {missing}."
        raise SecureAggregationError("SECAGG-THRESHOLD", what, "Repeat the round when more sites are connected.")


def require_survivors(survivors: Sequence[str], sharers: Collection[str], site: str, roster: Roster, min_sites: int) -> None:
    """Refuse a list of survivors that no sum may be opened for.

    Raises
    ------
    SecureAggregationError
        ``SECAGG-SURVIVORS`` unless it is a sorted list of sites that shared, this one among them; ``SECAGG-THRESHOLD``.
    """
    if list(survivors) != sorted(set(survivors)) or not set(survivors) <= set(sharers) or site not in survivors:
        raise survivors_error("the list of survivors has sites that did not share, a site twice, or lacks this site.")
    require_enough(survivors, roster, min_sites)


def require_signatures(signatures: Mapping[str, bytes], text: bytes, survivors: Collection[str], roster: Roster) -> None:
    """Refuse to unmask unless enough survivors signed what this site signed: the same survivors, the same model.

    Raises
    ------
    SecureAggregationError
        ``SECAGG-STRANGER``, ``SECAGG-SURVIVORS`` for one who is no survivor, ``SECAGG-SIGNATURE``, ``SECAGG-THRESHOLD``.
    """
    roster.require(signatures)
    if not set(signatures) <= set(survivors):
        raise survivors_error("a site signed the list of survivors that is not in it.")
    for name, signature in signatures.items():
        if not is_signed_by(signature, text, roster.keys[name]):
            raise signature_error(name, "this list of survivors of this model")
    require_enough(signatures, roster)


def signature_error(name: str, what: str) -> SecureAggregationError:
    """Return the error of something that a site did not sign."""
    fix = "The server sent sites different things, or somebody forged it: see the server's log."
    return SecureAggregationError("SECAGG-SIGNATURE", f"{name!r} did not sign {what}.", fix)


def survivors_error(what: str) -> SecureAggregationError:
    """Return the error of a list of survivors that is refused."""
    return SecureAggregationError("SECAGG-SURVIVORS", what, "Repeat the round as a new attempt.")


def _keys_error(what: str) -> SecureAggregationError:
    return SecureAggregationError("SECAGG-KEYS", what, "Find out who changed it: see the server's log.")
