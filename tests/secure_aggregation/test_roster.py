"""The approved roster, and how many of it must stay."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from medfl.errors import SecureAggregationError
from medfl.secure_aggregation import Attempt, Member, Roster
from medfl.secure_aggregation.roster import threshold_of
from tests.secure_aggregation.federation import make_roster, names_of, public_text

MEMBERS = make_roster(names_of(4)).members


@pytest.mark.parametrize(
    ("sites", "may_lie", "looks"), [(3, 3, 3), (4, 3, 3), (5, 4, 3), (6, 5, 4), (7, 5, 4), (8, 6, 5), (32, 22, 17)]
)
def test_who_must_stay(sites: int, may_lie: int, looks: int) -> None:
    assert (threshold_of(sites, True), threshold_of(sites, False)) == (may_lie, looks)


@pytest.mark.parametrize("sites", range(3, 33))
def test_two_lists_are_never_both_signed_by_enough_nor_two_sums_opened_by_different_sites(sites: int) -> None:
    liars = (sites - 1) // 3
    assert 2 * threshold_of(sites, True) - sites > liars
    assert 2 * threshold_of(sites, False) > sites


def test_the_digest_is_of_names_keys_and_what_the_server_may_do_in_any_order() -> None:
    roster = Roster(MEMBERS)
    assert Roster(MEMBERS[::-1]).digest == roster.digest
    other_key = public_text(ec.generate_private_key(ec.SECP384R1()))
    others = [
        Roster(MEMBERS, server_may_lie=False),
        Roster(MEMBERS[:3]),
        Roster((*MEMBERS[:3], Member(MEMBERS[3].name, other_key))),
        Roster((*MEMBERS[:3], Member("somebody", MEMBERS[3].public_key))),
    ]
    assert len({roster.digest, *(other.digest for other in others)}) == 5


@pytest.mark.parametrize(
    "members",
    [
        MEMBERS[:2],
        (*MEMBERS, MEMBERS[0]),
        (*MEMBERS, Member("again", MEMBERS[0].public_key)),
        (*MEMBERS, Member("damaged", "ecdsa-sha2-nistp384 AAAA")),
        (*MEMBERS, Member("another kind", public_text(ec.generate_private_key(ec.SECP256R1())))),
        (*MEMBERS, Member("another spelling", f"{public_text(ec.generate_private_key(ec.SECP384R1()))} comment")),
        (*make_roster(names_of(32)).members, Member("one more", public_text(ec.generate_private_key(ec.SECP384R1())))),
    ],
)
def test_a_roster_that_is_none_is_refused(members: tuple[Member, ...]) -> None:
    with pytest.raises(SecureAggregationError, match="SECAGG-ROSTER"):
        Roster(members)


@pytest.mark.parametrize("change", [{"round": 0}, {"number": True}, {"study": ""}, {"run": ""}, {"roster": "none"}])
def test_an_attempt_that_is_none_is_refused(change: dict[str, object]) -> None:
    fields = {"study": "s", "arm": "", "run": "r", "roster": "0" * 64, "round": 1, "number": 1} | change
    with pytest.raises(SecureAggregationError, match="SECAGG-ATTEMPT"):
        Attempt(**fields)  # type: ignore[arg-type]
