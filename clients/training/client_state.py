"""What a hospital must remember from round to round: control variates, personal models, what compression left over.

Flower starts a process for every message and forgets, so it lies on the hospital's own disk, a folder for each study and run.
It outlives a restart. The newest state is kept and the one from which it was made, each under the round that wrote it, so that
a round which the server has to repeat after a crash starts from what it started from the first time. It outlives the run, too,
as a model of the site's own may lie there; `medfl data purge --runs` removes it.
"""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Mapping
from pathlib import Path

from medfl.clients.networks.arrays import check_finite
from medfl.data.store.cache_key import STATE_FOLDER
from medfl.errors import ExchangeError, RunError, TrainingError
from medfl.messages.models import Tensor
from medfl.runs import checkpoint_files
from medfl.system.files import translate_disk_errors

_RUN_NAME_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")


class ClientState:
    """The durable state of one site in one run, as one round sees it.

    Parameters
    ----------
    folder : Path
        Of this run; made, for the owner only, when something is saved.
    server_round : int
        The round at hand, from 1.
    """

    def __init__(self, folder: Path, server_round: int) -> None:
        self.folder, self._round = folder, server_round
        self._loaded: dict[str, int] = {}

    def load(self, name: str, of_round: int | None = None) -> dict[str, Tensor] | None:
        """Return what was saved under a name before this round, or None.

        Parameters
        ----------
        name : str
            As given to `save`.
        of_round : int, optional
            The round that saved it, which has to be there; the last before this one unless given.

        Raises
        ------
        RunError
            ``STATE-LOST`` when what `of_round` saved is not there, or another when a file is damaged.
        """
        earlier = [n for n in self._rounds(name) if n < self._round]
        if of_round is not None and of_round not in earlier:
            what = f"what this site kept of round {of_round} is gone, and the server counts on it."
            raise RunError("STATE-LOST", what, "Start a new run, or go on without this site.")
        if not earlier:
            return None
        self._loaded[name] = earlier[-1] if of_round is None else of_round
        return checkpoint_files.load(self.folder, _checkpoint_name(name, self._loaded[name])).arrays

    def save(self, name: str, tensors: Mapping[str, Tensor]) -> None:
        """Keep tensors under a name as those of this round, whole or not at all.

        Of the earlier ones that from which this round started stays, for the case that it is repeated; and those of rounds
        after this one belong to a line that was given up.

        Raises
        ------
        TrainingError
            ``WEIGHTS-NONFINITE`` when one is not finite, which would spoil every further round.
        RunError
            ``DISK-FULL`` or ``RUN-FOLDER``.
        """
        try:
            check_finite(tensors)
        except ExchangeError as error:
            raise TrainingError("WEIGHTS-NONFINITE", error.what, error.fix) from None
        if not self.folder.is_dir():
            with translate_disk_errors("what the site remembers"):
                self.folder.mkdir(parents=True, mode=0o700, exist_ok=True)
        checkpoint_files.save(self.folder, _checkpoint_name(name, self._round), tensors, {})
        earlier = [n for n in self._rounds(name) if n < self._round]
        kept = {self._round, self._loaded.get(name, max(earlier, default=self._round))}
        others = {f for f in checkpoint_files.list_names(self.folder) if not f.startswith(f"{name}-round-")}
        checkpoint_files.prune(self.folder, others | {_checkpoint_name(name, n) for n in kept})

    def clear(self) -> None:
        """Remove all of it."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _rounds(self, name: str) -> list[int]:
        start = f"{name}-round-"
        return sorted(int(f.removeprefix(start)) for f in checkpoint_files.list_names(self.folder) if f.startswith(start))


def state_folder(root: Path, study_hash: str, run: str) -> Path:
    """Return where a site keeps its state of a run.

    Parameters
    ----------
    root : Path
        The site's own folder in the store.
    study_hash : str
        `Study.approved_hash`.
    run : str
        Name of the run, as the server tells it.

    Raises
    ------
    ExchangeError
        ``RUN-NAME`` when that is no name but, say, a path.
    """
    if not _RUN_NAME_PATTERN.fullmatch(run) or ".." in run:
        raise ExchangeError("RUN-NAME", "the server's name of the run is none that a run may have.")
    return root / STATE_FOLDER / study_hash[:16] / hashlib.sha256(run.encode()).hexdigest()[:16]


def _checkpoint_name(name: str, server_round: int) -> str:
    return f"{name}-round-{server_round:05d}"
