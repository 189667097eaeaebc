"""The models of an arm on the disk: one line of models that all hospitals share, or one for each, and the best of each line."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from flwr.app import ArrayRecord

from medfl.messages.models import Tensor, Tensors
from medfl.messages.records import from_array_record
from medfl.runs import checkpoint_files
from medfl.runs.checkpoint_files import Checkpoint
from medfl.runs.run_folder import Run

SHARED = ""  # name of the one line that all sites share; the line of a local model has the name of its site


@dataclass
class ModelSeries:
    """One line of models.

    Parameters
    ----------
    best_round : int
        Round of the best model by its score on validation patients, 0 before the first score.
    best_score : float
        That score.
    saved_rounds : set of int
        Rounds whose models are on the disk and still needed.
    """

    best_round: int = 0
    best_score: float = -math.inf
    saved_rounds: set[int] = field(default_factory=set)


class ModelSeriesStore(dict[str, ModelSeries]):
    """All lines of an arm by name, in the order of the names.

    Parameters
    ----------
    run : Run
        Where the models are kept.
    arm : str
        Whose they are.
    """

    def __init__(self, run: Run, arm: str) -> None:
        super().__init__()
        self._folder, self._arm, self._study = run.checkpoints, arm, run.study.approved_hash()
        self._state = ""  # name of the checkpoint of what the strategy remembers

    def add(self, names: Iterable[str]) -> None:
        """Begin lines; those that are there already go on."""
        ordered = {name: self.get(name) or ModelSeries() for name in sorted({*self, *names})}
        self.clear()
        self.update(ordered)

    def keep_only(self, others_than: Collection[str]) -> None:
        """Drop all lines but the named ones."""
        for name in [name for name in self if name not in others_than]:
            del self[name]

    def add_score(self, name: str, server_round: int, score: float) -> None:
        """Note the score of a model; of one that was never kept, as the start of a site that came later, nothing is noted."""
        line = self.get(name)
        if line is not None and server_round in line.saved_rounds and score > line.best_score:  # nan is above nothing
            line.best_round, line.best_score = server_round, score

    def has_stalled(self, server_round: int, patience: int) -> bool:
        """Say whether no line has become better for so many rounds."""
        return all(x.best_score > -math.inf and server_round - 1 - x.best_round >= patience for x in self.values())

    def save(self, name: str, server_round: int, model: ArrayRecord) -> None:
        """Write the model of a round."""
        meta = {"arm": self._arm, "site": name, "round": server_round, "study": self._study}
        checkpoint_files.save(self._folder, self._checkpoint_name(name, server_round), from_array_record(model), meta)

    def save_state(self, server_round: int, state: Tensors) -> None:
        """Write what the strategy remembers after a round, beside the models of that round."""
        self._state = self._checkpoint_name("strategy", server_round) if state else ""
        if state:
            checkpoint_files.save(self._folder, self._state, state, {"arm": self._arm, "round": server_round})

    def mark_complete(self, server_round: int) -> None:
        """Count a round as done: of its models and the earlier ones only the best are still needed."""
        for line in self.values():
            line.saved_rounds = (line.saved_rounds | {server_round}) & {server_round, line.best_round}

    def select_best(self, last: int) -> None:
        """Settle which models are the best, after the last score; a line without any takes its last one."""
        for line in self.values():
            if line.best_score == -math.inf:
                line.best_round = last
            line.saved_rounds &= {last, line.best_round}

    def load(self, name: str, server_round: int) -> Checkpoint:
        """Read the model of a round, or raise RunError."""
        return checkpoint_files.load(self._folder, self._checkpoint_name(name, server_round))

    def load_state(self, server_round: int) -> dict[str, Tensor]:
        """Read what the strategy remembered after a round, or raise RunError; not to be called when that was nothing."""
        self._state = name = self._checkpoint_name("strategy", server_round)
        return checkpoint_files.load(self._folder, name).arrays

    def prune(self) -> None:
        """Delete the models of this arm that are not needed any more."""
        mine = {self._checkpoint_name(name, n) for name, line in self.items() for n in line.saved_rounds} | {self._state}
        others = {name for name in checkpoint_files.list_names(self._folder) if not name.startswith(f"{self._arm}-")}
        checkpoint_files.prune(self._folder, mine | others)

    def _checkpoint_name(self, name: str, server_round: int) -> str:
        return "-".join(filter(None, (self._arm, name, f"round-{server_round:04d}")))
