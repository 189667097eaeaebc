"""Opening of trained models: a run, its file alone, and an export give one model; another network's weights give none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from medfl.clients.networks.arrays import get_arrays
from medfl.clients.networks.network_builders import build_network
from medfl.errors import ExchangeError, RunError
from medfl.models.trained_model import EXPORTED_MODEL, TrainedModel, open_model
from medfl.runs import Run, checkpoint_files
from medfl.runs.model_file import describe_model
from medfl.study import Study, StudyApp
from medfl.testing.sites import make_study

STUDY = make_study()
SIZE = (16, 16)


def save_best(folder: Path, study: Study = STUDY) -> Path:
    """Write a model of the study with weights that are not those of the seed."""
    arrays = {name: array + np.asarray(0.01, array.dtype) for name, array in get_arrays(build_network(study)).items()}
    meta = {"arm": "federated", "site": "", "round": 1}
    return checkpoint_files.save(folder, "best", arrays, meta, describe_model(study, list(arrays), meta))


def output(model: TrainedModel) -> torch.Tensor:
    with torch.inference_mode():
        result: torch.Tensor = model.build()(torch.ones((1, 1, *SIZE)))
    return result


def test_a_run_its_file_and_an_export_give_one_model(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "runs", StudyApp(STUDY))
    best = save_best(run.path)
    exported = tmp_path / "export" / EXPORTED_MODEL
    exported.parent.mkdir(parents=True)
    exported.write_bytes(best.read_bytes())
    of_run, of_file, of_export = map(open_model, (run.path, best, tmp_path / "export"))
    assert of_run.study == of_file.study == of_export.study == STUDY
    assert of_run.origin.digest == of_file.origin.digest == of_export.origin.digest
    assert torch.equal(output(of_run), output(of_file))
    assert torch.equal(output(of_file), output(of_export))
    assert run.path.name in of_run.origin.version


def test_a_run_that_chose_no_model_says_what_to_take(tmp_path: Path) -> None:
    run = Run.create(tmp_path, StudyApp(STUDY))
    with pytest.raises(RunError, match="has not chosen its best model") as caught:
        open_model(run.path)
    assert caught.value.code == "RUN-MODEL"


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    best = save_best(tmp_path)
    arrays, meta = checkpoint_files.load(tmp_path, "best")
    fewer = dict(list(arrays.items())[1:])
    checkpoint_files.save(tmp_path, "best", fewer, meta, describe_model(STUDY, list(fewer), meta))
    with pytest.raises(ExchangeError, match="MODEL-MISMATCH"):
        open_model(best).build()


@pytest.mark.parametrize("channels", [(100_000, 200_000, 400_000), (2**40, 2**41)])
def test_a_network_that_fits_into_no_memory_is_refused_before_memory_is_taken(
    channels: tuple[int, ...], tmp_path: Path
) -> None:
    huge = STUDY.model_copy(update={"network": STUDY.network.model_copy(update={"channels": channels})})
    arrays, meta = checkpoint_files.load(save_best(tmp_path).parent, "best")
    best = checkpoint_files.save(tmp_path, "best", arrays, meta, describe_model(huge, list(arrays), meta))
    with pytest.raises(ExchangeError, match="MODEL-MISMATCH"):
        open_model(best)


@pytest.mark.parametrize("name", ["nothing", "folder"])
def test_what_is_no_model_is_told(name: str, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(RunError, match="MODEL-FILE"):
        open_model(tmp_path / name)
