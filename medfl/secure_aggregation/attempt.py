"""What an attempt is of: everything that is signed or derived in it is bound to this, so it is of no use in another one."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import cached_property

from medfl.errors import SecureAggregationError
from medfl.secure_aggregation.canonical import digest, is_digest


@dataclass(frozen=True)
class Attempt:
    """One attempt of a round.

    Parameters
    ----------
    study : str
        Hash of the study, as hospitals approve it.
    arm : str
        Arm of the study.
    run : str
        Name of the run.
    roster : str
        Digest of the roster of the run.
    round : int
        Round, from 1; what follows the last round has a number of its own.
    number : int
        Attempt of this round, from 1.

    Raises
    ------
    SecureAggregationError
        ``SECAGG-ATTEMPT`` when a field is none of these.
    """

    study: str
    arm: str
    run: str
    roster: str
    round: int
    number: int

    def __post_init__(self) -> None:
        counts = (self.round, self.number)
        texts = (self.study, self.arm, self.run)
        if not (all(type(n) is int and n >= 1 for n in counts) and all(isinstance(t, str) for t in texts)):
            raise _refuse("an attempt has a round and a number from 1.")
        if not self.study or not self.run or not is_digest(self.roster):
            raise _refuse("an attempt names its study, its run and the digest of its roster.")

    @cached_property
    def digest(self) -> str:
        """SHA-256 of all of it, hexadecimal."""
        return digest("attempt", asdict(self))

    def require(self, digest: str) -> None:
        """Refuse what was made for another attempt: ``SECAGG-ATTEMPT``."""
        if digest != self.digest:
            raise _refuse("a message is of another attempt, round, run or study.")


def _refuse(what: str) -> SecureAggregationError:
    return SecureAggregationError("SECAGG-ATTEMPT", what, "Nothing to do if it was late; otherwise see the server's log.")
