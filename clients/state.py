"""What a hospital must remember from round to round: control variates, personal models, what compression left over.

Flower starts a process for every message and forgets, so it lies on the hospital's own disk, a folder for each study and run.
It outlives a restart. The two newest states are kept, each under the round that wrote it, so that a round which the server has
to repeat after a crash starts from what it started from the first time.
"""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Mapping
from pathlib import Path

from medfl.errors import ExchangeError
from medfl.runs import checkpoint
from medfl.updates import Tensor

_KEPT = 2
_RUN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")


class SiteState:
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

    def load(self, name: str) -> dict[str, Tensor] | None:
        """Return what was saved under a name in the last round before this one, or None.

        Raises
        ------
        RunError
            When a file is damaged.
        """
        earlier = [n for n in self._rounds(name) if n < self._round]
        return checkpoint.load(self.folder, _file(name, max(earlier))).arrays if earlier else None

    def save(self, name: str, tensors: Mapping[str, Tensor]) -> None:
        """Keep tensors under a name as those of this round, whole or not at all; older ones than the last are removed.

        Raises
        ------
        RunError
            ``DISK-FULL`` or ``RUN-FOLDER``.
        """
        if not self.folder.is_dir():
            self.folder.mkdir(parents=True, mode=0o700, exist_ok=True)
        checkpoint.save(self.folder, _file(name, self._round), tensors, {})
        others = {f for f in checkpoint.names(self.folder) if not f.startswith(f"{name}-round-")}
        kept = [n for n in self._rounds(name) if n <= self._round][-_KEPT:]  # a later one is of a line that was given up
        checkpoint.prune(self.folder, others | {_file(name, n) for n in kept})

    def forget(self) -> None:
        """Remove all of it."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _rounds(self, name: str) -> list[int]:
        start = f"{name}-round-"
        return sorted(int(f.removeprefix(start)) for f in checkpoint.names(self.folder) if f.startswith(start))


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
    if not _RUN.fullmatch(run) or ".." in run:
        raise ExchangeError("RUN-NAME", "the server's name of the run is none that a run may have.")
    return root / "state" / study_hash[:16] / hashlib.sha256(run.encode()).hexdigest()[:16]


def _file(name: str, server_round: int) -> str:
    return f"{name}-round-{server_round:05d}"
