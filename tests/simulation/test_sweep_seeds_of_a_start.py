"""Seeds of a sweep whose study begins with the weights of a file."""

from __future__ import annotations

import pytest

from medfl.simulation.matched_runs import check_seeds
from medfl.testing.sites import make_study

START = {"file": "w.safetensors", "sha256": "0" * 64, "arrays": "1" * 64, "name": "w", "source": "s", "licence": "l"}


@pytest.mark.parametrize(
    ("start", "seeds", "refused"),
    [
        ({}, [1, 2], False),
        (START, [1, 2], False),
        (START | {"missing": "new"}, [1, 2], True),
        (START | {"head": "new"}, [2], True),
        (START | {"head": "new"}, [1], False),
        (START | {"head": "new"}, [], False),
    ],
)
def test_layers_drawn_from_the_seed_have_the_digest_of_one_seed(start: dict[str, str], seeds: list[int], refused: bool) -> None:
    study = make_study(seed=1, **({"start": start} if start else {}))
    assert bool(check_seeds(study, seeds)) == refused
