"""State of a site that lasts from round to round: control variates, personal models, what compression left over.

Flower may start a process for every message, so state is kept on the hospital's own disk, in a folder for each study and run,
and survives a restart. Each is saved under the number of its round. The newest is kept and the one that it was made from, so
that a round which the server repeats after a crash starts from the same state as before. State also outlives the run, as it may
hold a personal model; `medfl data purge --runs` removes it.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from pathlib import Path

from medfl.clients.networks.arrays import check_finite
from medfl.data.store.cache_key import run_state_folder
from medfl.errors import ExchangeError, RunError, TrainingError
from medfl.messages.models import Tensor, Tensors
from medfl.messages.records import ROUND
from medfl.runs import checkpoint_files, site_state
from medfl.runs.site_state import checkpoint_name
from medfl.system.files import translate_disk_errors

_RUN_NAME_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")


class ClientState:
    """The durable state of one site in one run, as one round sees it.

    Parameters
    ----------
    folder : Path
        Folder for this run; made when something is saved, accessible to its owner alone.
    server_round : int
        The current round, from 1.
    """

    def __init__(self, folder: Path, server_round: int) -> None:
        self.folder, self._round = folder, server_round
        self._loaded: dict[str, int] = {}

    def load(self, name: str, of_round: int | None = None) -> dict[str, Tensor] | None:
        """Return what was saved under a name before this round, or None.

        Parameters
        ----------
        name : str
            Name that was given to `save`.
        of_round : int, optional
            Load what this round saved, which must exist; the last round before the current one unless given.

        Raises
        ------
        RunError
            ``STATE-LOST`` when `of_round` is given and nothing saved by it is left, or another code when a file is damaged.
        """
        earlier = [n for n in self._rounds(name) if n < self._round]
        if of_round is not None and of_round not in earlier:
            what = f"the state that this site saved in round {of_round} is gone, and the server counts on it."
            raise RunError("STATE-LOST", what, "Start a new run, or go on without this site.")
        if not earlier:
            return None
        self._loaded[name] = earlier[-1] if of_round is None else of_round
        return checkpoint_files.load(self.folder, checkpoint_name(name, self._loaded[name])).arrays

    def load_last_counted(self, name: str, counted: Tensors) -> dict[str, Tensor]:
        """Return what the site saved in the round whose reply the server counted last, nothing if it never counted one.

        What the site saved in later rounds belongs to replies that were lost or refused: see
        `medfl.strategies.base.client_state_mean`.

        Parameters
        ----------
        name : str
            Name that was given to `save`.
        counted : mapping of str to ndarray
            The server's record `medfl.messages.records.COUNTED`.

        Raises
        ------
        RunError
            ``STATE-LOST`` when it is no longer there.
        """
        last = int(counted[ROUND])
        return (self.load(name, of_round=last) or {}) if last else {}

    def save(self, name: str, tensors: Mapping[str, Tensor]) -> None:
        """Save tensors under a name as those of this round, all or none.

        Of earlier rounds, the one that this round loaded is kept, in case this round is repeated. Later rounds are removed:
        they belong to a past that the server gave up.

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
            with translate_disk_errors("the state of the site"):
                self.folder.mkdir(parents=True, mode=0o700, exist_ok=True)
        checkpoint_files.save(self.folder, checkpoint_name(name, self._round), tensors, {})
        earlier = [n for n in self._rounds(name) if n < self._round]
        rounds = {self._round, self._loaded.get(name, max(earlier, default=self._round))}
        others = {f for f in checkpoint_files.list_names(self.folder) if not f.startswith(f"{name}-round-")}
        checkpoint_files.prune(self.folder, others | {checkpoint_name(name, n) for n in rounds})

    def close_round(self) -> None:
        """Write down what is kept after this round, so that what is missing in a later one is known to be lost."""
        site_state.write_list(self.folder, self._round)

    def check(self) -> None:
        """Raise ``STATE-LOST`` when something is missing that was kept before this round."""
        if site_state.is_lost_before(self.folder, self._round):
            what = f"what this site kept before round {self._round} is gone, in whole or in part."
            raise RunError("STATE-LOST", what, "Put back the folder of the store from a copy, or go on without this site.")

    def clear(self) -> None:
        """Remove the state of this run."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _rounds(self, name: str) -> list[int]:
        return site_state.saved_rounds(self.folder, name)


def state_folder(root: Path, study_hash: str, run: str) -> Path:
    """Return the folder in which a site keeps its state of a run.

    Parameters
    ----------
    root : Path
        The site's own folder in the store.
    study_hash : str
        `Study.approved_hash`.
    run : str
        Name of the run, given by the server.

    Raises
    ------
    ExchangeError
        ``RUN-NAME`` when that is not a plain name, but for example a path.
    """
    if not is_run_name(run):
        raise ExchangeError("RUN-NAME", "the name that the server gives the run is not valid.")
    return run_state_folder(root, study_hash, run)


def is_run_name(run: str) -> bool:
    """Return whether a name that a server gives a run may become part of the name of a file."""
    return bool(_RUN_NAME_PATTERN.fullmatch(run)) and ".." not in run
