"""Filter rules of a received model: which tensors may begin flat, and become alike."""

from __future__ import annotations

import numpy as np
import pytest

from medfl.privacy.expected_pace import Pace
from medfl.privacy.model_path import REPEATED, Received, collect_facts, measure_model


@pytest.mark.parametrize(("name", "is_found"), [("model.0.weight", True), ("model.0.lora_B", False)])
def test_rows_may_become_alike_only_in_a_low_rank_update_which_begins_at_zero(name: str, is_found: bool) -> None:
    first = {name: np.zeros((4, 9), np.float32)}
    alike = {name: np.tile(np.random.default_rng(1).standard_normal(9).astype(np.float32), (4, 1))}
    pace: Pace = None  # type: ignore[assignment]  # it counts with a limit of steps alone
    received = Received(alike, (), collect_facts(first), first.__getitem__, 1, {}, pace, max_step=0)
    assert (REPEATED in {alarm.what for alarm in measure_model(received) if alarm.is_beyond}) == is_found
