"""Checkpoints of an arm: its model series, one that all sites share or one for each site, and the best model of each."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from flwr.app import ArrayRecord

from medfl.errors import RunError
from medfl.messages.models import Tensor, Tensors
from medfl.messages.records import BASE, BASE_FULL, from_array_record, layout_hash
from medfl.runs import checkpoint_files
from medfl.runs.checkpoint_files import Checkpoint
from medfl.runs.low_rank_arrays import merge_low_rank
from medfl.runs.run_folder import Run

SHARED = ""  # name of the series that all sites share; the series of a local model has the name of its site


@dataclass
class ModelSeries:
    """One model, round by round.

    Parameters
    ----------
    best_round : int
        Round of the best model by its score on validation patients, 0 before the first score.
    best_score : float
        Score of the best model so far.
    saved_rounds : set of int
        Rounds whose models are on disk and still needed.
    """

    best_round: int = 0
    best_score: float = -math.inf
    saved_rounds: set[int] = field(default_factory=set)


class ModelSeriesStore(dict[str, ModelSeries]):
    """All model series of an arm by name, in the order of the names.

    Parameters
    ----------
    run : Run
        The run in whose folder the models are kept.
    arm : str
        Name of the arm.
    """

    def __init__(self, run: Run, arm: str) -> None:
        super().__init__()
        self._folder, self._arm, self._study = run.checkpoints, arm, run.study.approved_hash()
        self._state = ""  # name of the checkpoint of the strategy's state

    def add(self, names: Iterable[str]) -> None:
        """Begin series; existing ones go on."""
        ordered = {name: self.get(name) or ModelSeries() for name in sorted({*self, *names})}
        self.clear()
        self.update(ordered)

    def keep_only(self, names: Collection[str]) -> None:
        """Drop all series but the named ones."""
        for name in [name for name in self if name not in names]:
            del self[name]

    def add_score(self, name: str, server_round: int, score: float) -> None:
        """Add the score of a model, unless that model was never saved, like the start of a site that joined later."""
        series = self.get(name)
        if series is not None and server_round in series.saved_rounds and score > series.best_score:  # false for nan
            series.best_round, series.best_score = server_round, score

    def has_stalled(self, server_round: int, patience: int) -> bool:
        """Say whether no series has become better for that many rounds."""
        return all(x.best_score > -math.inf and server_round - 1 - x.best_round >= patience for x in self.values())

    def save(self, name: str, server_round: int, model: ArrayRecord) -> None:
        """Write the model of a round."""
        meta = {"arm": self._arm, "site": name, "round": server_round, "study": self._study}
        checkpoint_files.save(self._folder, checkpoint_name(self._arm, name, server_round), from_array_record(model), meta)

    def save_state(self, server_round: int, state: Tensors) -> None:
        """Write the state of the strategy after a round, next to the models of that round."""
        self._state = checkpoint_name(self._arm, "strategy", server_round) if state else ""
        if state:
            checkpoint_files.save(self._folder, self._state, state, {"arm": self._arm, "round": server_round})

    def mark_complete(self, server_round: int) -> None:
        """Mark a round as done: of the models before it only the best are still needed."""
        for series in self.values():
            series.saved_rounds = (series.saved_rounds | {server_round}) & {server_round, series.best_round}

    def select_best(self, last: int) -> None:
        """Decide which models are the best, after the last score; in a series without any score it is the last one."""
        for series in self.values():
            if series.best_score == -math.inf:
                series.best_round = last
            series.saved_rounds &= {last, series.best_round}

    def load(self, name: str, server_round: int) -> Checkpoint:
        """Read the model of a round, or raise RunError."""
        return load_of_run(self._folder, checkpoint_name(self._arm, name, server_round))

    def load_state(self, server_round: int) -> dict[str, Tensor]:
        """Read the state of the strategy after a round, which must have had one, or raise RunError."""
        self._state = name = checkpoint_name(self._arm, "strategy", server_round)
        return load_of_run(self._folder, name).arrays

    def prune(self) -> None:
        """Delete the models of this arm that are no longer needed."""
        needed = {checkpoint_name(self._arm, name, n) for name, series in self.items() for n in series.saved_rounds} | {
            self._state
        }
        others = {name for name in checkpoint_files.list_names(self._folder) if not name.startswith(f"{self._arm}-")}
        checkpoint_files.prune(self._folder, needed | others)


def save_bases(run: Run, models: Mapping[str, ArrayRecord]) -> None:
    """Keep in the folder of a run what completes a trained part to a network, if the study trains a part.

    Parameters
    ----------
    run : Run
        The run; what a run that is resumed has kept stays as it is.
    models : mapping of str to ArrayRecord
        Initial models by name: those under `records.BASE` and `records.BASE_FULL` are kept.

    Raises
    ------
    RunError
        ``RUN-OTHER-VERSION`` when a run that is resumed has kept another one: its trained part belongs to that.
    """
    kept = set(checkpoint_files.list_names(run.checkpoints))
    for name in sorted({BASE, BASE_FULL} & set(models)):
        base = from_array_record(models[name])
        if name not in kept:
            checkpoint_files.save(run.checkpoints, name, base, {})
        elif not _are_same(base, load_of_run(run.checkpoints, name).arrays):
            what = "the part of the network that is not trained is drawn otherwise here than when the run began."
            raise RunError("RUN-OTHER-VERSION", what, "Install the versions of then, or begin a new run.")


def _are_same(one: Tensors, other: Tensors) -> bool:
    in_order = {name: other[name] for name in one if name in other}
    is_alike = len(one) == len(other) and layout_hash(one) == layout_hash(in_order)
    return is_alike and all(x.tobytes() == other[name].tobytes() for name, x in one.items())


def whole_model(run: Run, arm: str, arrays: Tensors) -> dict[str, Tensor]:
    """Return a model of a run as the plain network of its study has it: completed, and with low-rank updates in the weights.

    Parameters
    ----------
    run : Run
        The run.
    arm : str
        Arm that the model belongs to.
    arrays : mapping of str to ndarray
        The tensors that travel.
    """
    if not run.study.training.tunes_part:
        return dict(arrays)
    full = arm != "federated" and BASE_FULL in checkpoint_files.list_names(run.checkpoints)
    base = load_of_run(run.checkpoints, BASE_FULL if full else BASE).arrays
    return merge_low_rank(run.study, {**base, **arrays})


def load_of_run(folder: Path, name: str) -> Checkpoint:
    """Read a checkpoint that a run needs to go on, or raise RunError."""
    try:
        return checkpoint_files.load(folder, name)
    except RunError as error:
        fix = "Put back a copy of the folder 'checkpoints', or start a new run."
        raise RunError(error.code, error.what, fix) from None


def checkpoint_name(arm: str, series: str, server_round: int) -> str:
    """Return the name of the checkpoint of a model after a round.

    Examples
    --------
    >>> checkpoint_name("federated", SHARED, 3), checkpoint_name("local", "north", 3)
    ('federated-round-0003', 'local-north-round-0003')
    """
    return "-".join(filter(None, (arm, series, f"round-{server_round:04d}")))


def list_saved_rounds(folder: Path, arm: str, series: str) -> list[int]:
    """Return the rounds of which a folder has the checkpoint of a model, sorted."""
    start = checkpoint_name(arm, series, 0).removesuffix("0000")
    rounds = (name.removeprefix(start) for name in checkpoint_files.list_names(folder) if name.startswith(start))
    return sorted(int(number) for number in rounds if number.isdecimal())
