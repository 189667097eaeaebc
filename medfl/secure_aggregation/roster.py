"""The roster: the hospitals of a run, as each of them approved it, and how many of them must stay to the end."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from cryptography.hazmat.primitives.asymmetric import ec

from medfl.errors import SecureAggregationError
from medfl.secure_aggregation.canonical import digest
from medfl.secure_aggregation.signing import read_public_key

MIN_SURVIVORS = 3  # a sum of two tells each of them the other's update
MAX_SITES = 32  # every site shares a mask with every other one


@dataclass(frozen=True)
class Member:
    """A hospital of the roster.

    Parameters
    ----------
    name : str
        Name of the site.
    public_key : str
        Key with which it was enrolled, on P-384; OpenSSH format without a comment.
    """

    name: str
    public_key: str


@dataclass(frozen=True)
class Roster:
    """The hospitals of a run. What a site approved is the digest: names, keys, and whether the server may lie.

    Parameters
    ----------
    members : tuple of Member
        In any order; they are kept by name.
    server_may_lie : bool
        Whether sites protect themselves from a server that deviates from the protocol, not only from one that looks.

    Raises
    ------
    SecureAggregationError
        ``SECAGG-ROSTER`` for fewer than 3 or more than 32 members, a name or key that comes twice, and a key of another kind.
    """

    members: tuple[Member, ...]
    server_may_lie: bool = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "members", tuple(sorted(self.members, key=lambda member: member.name)))
        if not MIN_SURVIVORS <= len(self.members) <= MAX_SITES:
            raise _refuse(f"the roster has {len(self.members)} sites, and may have {MIN_SURVIVORS} to {MAX_SITES}.")
        if len(set(self.names)) < len(self.members) or len({member.public_key for member in self.members}) < len(self.members):
            raise _refuse("a name or a key stands in the roster twice.")
        _ = self.keys

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the members, sorted."""
        return tuple(member.name for member in self.members)

    @cached_property
    def keys(self) -> dict[str, ec.EllipticCurvePublicKey]:
        """Enrolled keys by name."""
        try:
            return {member.name: read_public_key(member.public_key) for member in self.members}
        except ValueError:
            raise _refuse("a key of the roster is damaged, or not one on P-384 in its one spelling.") from None

    @property
    def threshold(self) -> int:
        """Sites that must take part in every stage; see `threshold_of`."""
        return threshold_of(len(self.members), self.server_may_lie)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the roster, hexadecimal."""
        members = [[member.name, member.public_key] for member in self.members]
        return digest("roster", {"members": members, "server-may-lie": self.server_may_lie, "threshold": self.threshold})

    def position(self, name: str) -> int:
        """Return the number of a member's shares, counted from 1.

        Raises
        ------
        SecureAggregationError
            ``SECAGG-STRANGER`` for whoever is not in the roster.
        """
        self.require([name])
        return self.names.index(name) + 1

    def require(self, names: Iterable[str]) -> None:
        """Refuse names that are not in the roster: ``SECAGG-STRANGER``."""
        if any(name not in self.keys for name in names):
            fix = "Only sites of the roster that this hospital approved may take part."
            raise SecureAggregationError("SECAGG-STRANGER", "a site takes part that is not in the approved roster.", fix)


def threshold_of(sites: int, server_may_lie: bool) -> int:
    """Return how many sites of a roster must take part in every stage, and so how many shares open a secret.

    Above two thirds, no two lists of survivors are both signed by so many, even if fewer than a third of the sites lie with the
    server (Bonawitz et al. 2017, on active adversaries); above half, two sums of one model are never opened by different sites.

    Parameters
    ----------
    sites : int
        Sites of the roster, whether they answered or not.
    server_may_lie : bool
        As in `Roster`.

    Examples
    --------
    >>> [threshold_of(n, True) for n in range(3, 9)]
    [3, 3, 4, 5, 5, 6]
    >>> [threshold_of(n, False) for n in range(3, 9)]
    [3, 3, 3, 4, 4, 5]
    """
    return max(MIN_SURVIVORS, sites * 2 // 3 + 1 if server_may_lie else sites // 2 + 1)


def _refuse(what: str) -> SecureAggregationError:
    return SecureAggregationError(
        "SECAGG-ROSTER", what, "Name each hospital of the run once, with the key that it was enrolled with."
    )
