"""Made-up cases, and what they add up to."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from medfl.planning.fingerprint import CaseMeasurements, Fingerprint, Scope, merge
from medfl.schema import read_section
from medfl.study import Study

CT = Scope(3, "CT", ("background", "liver", "tumour"), 1, "nonzero")
MR = Scope(3, "MR", ("background", "organ"), 1, "nonzero")


def abdomen(k: int, *, tumour: bool = True, marked: bool = True) -> CaseMeasurements:
    """Make what is seen of a CT: sizes, spacings and values differ from case to case."""
    rng = np.random.default_rng(k)
    fractions = (0.02 * (k % 3 + 1), 0.001 * tumour) if marked else (0.0, 0.0)
    values = rng.normal(100 + k % 7, 40, 200 + k).astype(np.float32) if marked else np.empty(0, np.float32)
    spacing = (0.6 + 0.01 * (k % 20), 0.6 + 0.01 * (k % 20), (1.0, 2.5, 5.0)[k % 3])
    return CaseMeasurements(spacing, (512, 512, 60 + 3 * (k % 40)), 1.0, fractions, (values,))


def added(scope: Scope, cases: list[CaseMeasurements]) -> Fingerprint:
    """Return the fingerprint of cases."""
    return merge([Fingerprint.empty(scope), *(Fingerprint.from_case(scope, case) for case in cases)])


def same(one: Fingerprint, other: Fingerprint) -> bool:
    """Return whether two fingerprints have the same bits."""
    mine, theirs = one.arrays(), other.arrays()
    return one.scope == other.scope and all(mine[name].tobytes() == theirs[name].tobytes() for name in mine)


def study_of(scope: Scope, **tables: Any) -> Study:
    """Make a study for a scope; keyword arguments replace whole tables."""
    values: dict[str, Any] = {
        "name": "tiny",
        "rounds": 1,
        "task": {
            "kind": "segmentation",
            "dimension": scope.dimension,
            "modality": scope.modality,
            "classes": ",".join(scope.classes),
            "channels": scope.channels,
        },
        "network": {"name": "unet"},
        "loss": {"name": "dice-ce"},
    }
    return read_section(Study, values | tables, "pyproject.toml")


@pytest.fixture
def made() -> SimpleNamespace:
    """Return the makers above, as test modules cannot import each other."""
    return SimpleNamespace(CT=CT, MR=MR, abdomen=abdomen, added=added, same=same, study_of=study_of)
