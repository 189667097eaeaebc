"""What completes a trained part to a network: it is kept with a run, and a resumed run must have the same."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from medfl.errors import RunError
from medfl.messages.records import BASE, to_array_record
from medfl.server.checkpoints import load_of_run, save_bases


def test_a_resumed_run_must_begin_with_the_base_that_it_kept(tmp_path: Path) -> None:
    run: Any = SimpleNamespace(checkpoints=tmp_path)
    base = {"b.bias": np.zeros(2, np.float32), "a.weight": np.ones((2, 2), np.float32), "c": np.array(3)}
    save_bases(run, {BASE: to_array_record(base)})
    save_bases(run, {BASE: to_array_record(base)})
    other = {**base, "a.weight": np.nextafter(base["a.weight"], np.float32(2))}
    with pytest.raises(RunError, match="RUN-OTHER-VERSION"):
        save_bases(run, {BASE: to_array_record(other)})
    assert np.array_equal(load_of_run(tmp_path, BASE).arrays["a.weight"], base["a.weight"])
