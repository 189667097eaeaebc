"""Models that a hospital keeps: whole or absent, listed from the oldest on, and removed with all that belongs to them."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import numpy as np
import pytest

from medfl.errors import RunError
from medfl.runs import kept_models
from medfl.runs.kept_models import KeptModel, Which, list_kept, remove_kept, write_kept
from medfl.runs.model_file import read_model_file
from medfl.testing.sites import make_study

STUDY = make_study()


def keep(folder: Path, run: str, which: Which = "shared", value: float = 1.0) -> KeptModel:
    model = KeptModel(STUDY.name, STUDY.approved_hash(), run, which, 2, {"score": float("nan"), "patients": 1})
    return write_kept(folder, STUDY, {"w": np.full(3, value, np.float32)}, model, "hospital-a" if which == "personal" else "")


def test_what_was_kept_is_listed_and_can_be_opened(tmp_path: Path) -> None:
    assert list_kept(tmp_path / "models") == ()
    models = [keep(tmp_path / "models", run) for run in ("b", "a")]
    own = keep(tmp_path / "models", "a", "personal")
    listed = list_kept(tmp_path / "models")
    assert {model.path for model in listed} == {model.path for model in [*models, own]}
    assert all(model.is_there and model.size == model.path.stat().st_size for model in listed)
    assert {model.test["score"] for model in listed} == {None}  # JSON has no number for one that is none
    assert read_model_file(own.path).about == {"arm": "federated", "site": "hospital-a", "round": 2}


def test_the_oldest_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Clock:
        hours = iter((12, 11, 10))

        @classmethod
        def now(cls, zone: object) -> object:
            return datetime(2026, 1, 1, next(cls.hours))

    monkeypatch.setattr(kept_models, "datetime", Clock)
    for run in ("first", "second", "third"):
        keep(tmp_path, run)
    assert [model.run for model in list_kept(tmp_path)] == ["third", "second", "first"]


def test_a_model_that_is_kept_again_replaces_the_older_one(tmp_path: Path) -> None:
    keep(tmp_path, "a")
    keep(tmp_path, "a", value=2.0)
    (model,) = list_kept(tmp_path)
    assert read_model_file(model.path).arrays["w"][0] == 2.0
    assert sorted(path.name for path in model.path.parent.iterdir()) == ["shared.json", "shared.safetensors"]


def test_what_is_removed_leaves_nothing_and_the_others_alone(tmp_path: Path) -> None:
    first, second, own = keep(tmp_path, "a"), keep(tmp_path, "b"), keep(tmp_path, "b", "personal")
    remove_kept(first)
    assert not first.path.parent.exists()
    remove_kept(second)
    remove_kept(second)  # somebody else was faster
    assert [model.path for model in list_kept(tmp_path)] == [own.path]
    remove_kept(own)
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_model_of_this_place_is_not_listed_as_one(tmp_path: Path) -> None:
    """A receipt that was copied to another run is not the receipt of what lies there."""
    one, other = keep(tmp_path, "a"), keep(tmp_path, "b")
    other.path.with_suffix(".json").write_bytes(one.path.with_suffix(".json").read_bytes())
    listed = {model.path: model for model in list_kept(tmp_path)}
    assert (listed[one.path].run, listed[one.path].sha256) == ("a", one.sha256)
    assert (listed[other.path].run, listed[other.path].sha256) == ("b", "")


def test_a_folder_that_cannot_be_written_is_told_without_its_name(tmp_path: Path) -> None:
    (tmp_path / "models").write_text("a file where the folder should be")
    with pytest.raises(RunError, match="RUN-FOLDER") as caught:
        keep(tmp_path / "models", "a")
    assert str(tmp_path) not in str(caught.value)
