"""One sum for one model: never two whose difference is one hospital's update, across retries, resumes, runs and studies."""

from __future__ import annotations

from typing import Any

import pytest

from medfl.errors import SecureAggregationError
from medfl.secure_aggregation import MemoryStore
from tests.secure_aggregation.federation import OTHER_MODEL, Federation, copy_store, names_of, same, sum_of

pytestmark = pytest.mark.usefixtures("computed_once")

FIVE = names_of(5)


def again(first: Federation, names: list[str] = FIVE, **fields: Any) -> Federation:
    stores = {name: first.stores[name] for name in names}  # type: ignore[index]
    return Federation(names, first.server_may_lie, stores=stores, fields=fields, vector=first.vector)


def refused() -> pytest.RaisesExc[SecureAggregationError]:
    return pytest.raises(SecureAggregationError, match="SECAGG-ONE-SUM")


@pytest.mark.parametrize(
    "fields",
    [
        {"number": 2},
        {"run": "resumed", "number": 2},
        {"run": "another"},
        {"study": "another study"},
        {"arm": "another"},
        {"round": 7},
    ],
)
def test_a_resume_with_one_site_less_is_refused_whatever_it_is_called(fields: dict[str, Any]) -> None:
    first = Federation(FIVE)
    first.open_sum()
    second = again(first, **fields)
    second.drops = {FIVE[4]: "keys"}
    with refused():
        second.exchange_inputs()


def test_a_run_whose_roster_has_one_site_less_is_refused() -> None:
    first = Federation(FIVE, server_may_lie=False)
    first.open_sum()
    second = again(first, FIVE[:4], run="another")
    with refused():
        second.exchange_inputs()


@pytest.mark.parametrize("until", ["exchange_inputs", "exchange_signatures"])
def test_an_attempt_that_was_open_beside_it_is_closed_by_the_first_sum(until: str) -> None:
    """Both attempts have all masked vectors, of one site less in the second, before either sum is opened."""
    first = Federation(FIVE)
    second = again(first, number=2)
    second.drops = {FIVE[4]: "input"}
    signatures = getattr(second, until)()
    first.open_sum()
    for name in FIVE[:4]:
        site = second.sites[name]
        with refused():
            if until == "exchange_inputs":
                site.sign_survivors(FIVE[:4])
            else:
                site.unmask(FIVE[:4], signatures)


def test_a_site_that_gave_no_shares_may_take_part_again_but_the_others_are_too_many() -> None:
    """Its update is in the first sum; of a second one, all that gave shares would have to know nothing."""
    first = Federation(FIVE, server_may_lie=False, drops=dict.fromkeys(FIVE[3:], "unmasking"))
    first.open_sum()
    second = again(first, number=2)
    second.exchange_shares()
    for name in FIVE[:3]:
        with refused():
            second.send_input(name)
    for name in FIVE[3:]:
        second.server.add_masked_input(second.send_input(name))
    with pytest.raises(SecureAggregationError, match="SECAGG-THRESHOLD"):
        second.server.list_survivors()


def test_an_attempt_of_which_nothing_was_opened_is_repeated_with_whoever_is_left() -> None:
    first = Federation(FIVE, drops={FIVE[3]: "signature", FIVE[4]: "signature"})
    with pytest.raises(SecureAggregationError, match="SECAGG-THRESHOLD"):
        first.open_sum()
    second = again(first, number=2)
    second.drops = {FIVE[4]: "keys"}
    assert same(second.open_sum(), sum_of(FIVE[:4], second.layout))  # type: ignore[arg-type]


def test_the_next_model_is_another_sum() -> None:
    first = Federation(FIVE)
    first.open_sum()
    second = again(first, round=2)
    second.model = OTHER_MODEL
    assert same(second.open_sum(), sum_of(FIVE, second.layout))  # type: ignore[arg-type]


def test_a_server_that_lost_all_is_given_the_same_messages_and_the_same_sum_again() -> None:
    first = Federation(FIVE, drops={FIVE[4]: "input"})
    total = first.open_sum()
    second = again(first)
    second.drops = first.drops
    assert same(second.open_sum(), total)
    assert second.released == first.released
    third = again(first)  # and the one that was missing, which now answers, is in no sum
    with pytest.raises(SecureAggregationError, match="SECAGG-SURVIVORS"):
        third.exchange_signatures()


def test_forgetting_an_attempt_does_not_forget_that_its_sum_was_opened() -> None:
    first = Federation(FIVE)
    first.open_sum()
    for store in first.stores.values():  # type: ignore[union-attr]
        store.forget(first.attempt.digest)
    second = again(first)  # even under the very same name
    second.exchange_shares()
    with refused():
        second.send_input(FIVE[0])


def test_a_site_that_stopped_after_it_noted_the_sum_gives_the_shares_of_this_sum_alone() -> None:
    first = Federation(FIVE)
    signatures = first.exchange_signatures()
    name = FIVE[0]
    store = first.stores[name]  # type: ignore[index]
    assert isinstance(store, MemoryStore)
    before = copy_store(store)
    given = first.sites[name].unmask(FIVE, signatures)
    before._releases = store._releases  # the record is on the disk, the state is not
    first.stores = {**first.stores, name: before}  # type: ignore[dict-item]
    assert first.restart(name).unmask(FIVE, signatures) == given
