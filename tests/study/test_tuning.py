"""Which part of a network is trained, as a study writes it, and what it cannot be combined with."""

from __future__ import annotations

from typing import Any

import pytest

from medfl.errors import ConfigError
from medfl.study.model_words import describe_part
from medfl.testing.sites import make_study

FROZEN: dict[str, Any] = {
    "network": {"name": "unet", "channels": "4,8", "norm": "batch-frozen"},
    "start": {"file": "model.pt", "sha256": "0" * 64, "arrays": "0" * 64},
}


def refusal(**tables: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        make_study(**tables)
    (problem,) = caught.value.problems
    return f"{problem.key}: {problem.what}"


def test_a_study_that_says_nothing_of_it_keeps_its_hash() -> None:
    assert make_study().approved_hash() == make_study(training={"tune": "all"}).approved_hash()
    hashes = {
        make_study(training={"tune": "lora", **options}).approved_hash()
        for options in ({}, {"lora-rank": 4}, {"lora-alpha": 4}, {"lora-average": "both"})
    }
    assert len(hashes - {make_study().approved_hash()}) == 4


@pytest.mark.parametrize(
    ("tune", "said"),
    [
        ("heads", "'heads' is no kind of layers and no pattern"),
        ("all,head", "'all' stands alone"),
        ("head,head", "each once"),
        ("model.*\x1b[2Kall is well", "has signs that no pattern has"),
        ("model.*\nThe network is trained as a whole.", "has signs that no pattern has"),
        ("", "needs all, head, norm, lora"),
    ],
)
def test_a_wrong_part_is_refused(tune: str, said: str) -> None:
    assert said in refusal(training={"tune": tune})


@pytest.mark.parametrize(
    ("tables", "said"),
    [
        ({"training": {"tune": "head", "lora-rank": 4}}, "'lora-rank' counts with tune"),
        ({"training": {"tune": "head"}, "strategy": {"name": "fedper"}}, "nothing would be learned together"),
        ({"training": {"tune": "lora"}, "personal": {"layers": "norm"}}, "layers of kind 'norm' stay at the hospitals"),
        ({"training": {"tune": "head"}, "strategy": {"name": "moon"}}, "does not change where the head alone"),
        (
            {"training": {"tune": "norm"}, "network": {"name": "unet", "channels": "4,8", "norm": "batch"}},
            "cannot be averaged over hospitals",
        ),
        ({"training": {"tune": "lora,norm"}, **FROZEN}, "'batch-frozen' normalisation is never trained"),
    ],
)
def test_what_makes_no_sense_together_is_refused_in_one_sentence(tables: dict[str, Any], said: str) -> None:
    assert said in refusal(**tables)


def test_batch_normalisation_may_be_shared_where_it_is_frozen() -> None:
    batch = {"name": "unet", "channels": "4,8", "norm": "batch"}
    assert make_study(training={"tune": "lora,head"}, network=batch).training.tunes_part
    assert "network.norm" in refusal(network=batch)


def test_the_part_and_the_error_of_averaging_both_factors_are_said() -> None:
    assert describe_part(make_study()) == []
    (told,) = describe_part(make_study(training={"tune": "lora,model.2.*", "lora-rank": 4}))
    assert "the parameters model.2.* and low-rank updates of its linear and convolution layers, of rank 4;" in told
    (told,) = describe_part(make_study(training={"tune": "lora,head", "lora-rank": 4}))
    assert "its last layer and low-rank updates of its linear and convolution layers, of rank 4;" in told
    for tables in (FROZEN, {"network": FROZEN["network"] | {"norm": "batch"}}):
        (told,) = describe_part(make_study(training={"tune": "model.2.*"}, **tables))
        assert "the parameters model.2.* (but for those of batch normalisation)" in told
    told, error = describe_part(make_study(training={"tune": "lora", "lora-average": "both"}))
    assert "the product of the means is not the mean of the products" in error
