"""The same sweep for each of several values of one key: how hospitals are cut, how many rounds, how much work in each."""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from medfl.errors import ConfigError, Problem, RunError
from medfl.simulation.earlier_runs import comparable_config
from medfl.simulation.strategy_specs import LOCAL
from medfl.simulation.sweep_runner import Sweep, make_sweep_folder, plan_sweep, plan_sweep_resumption
from medfl.study.study_file import Scalar
from medfl.system.files import translate_disk_errors, write_file

VARIED_FILE = "varied.json"  # in the folder of varied sweeps, each of which has its own folder beside it
_MAX_NAME = 60  # characters of the name of a folder
_FIXED = ("seed", "split-seed", "arms", "name", "simulation.data", "simulation.store")


@dataclass(frozen=True)
class VariedSweep:
    """A sweep for each value of a key, ready to run.

    Parameters
    ----------
    folder : Path
        ``<out>/<study>/<time>-<id>``, with a folder for each sweep.
    key : str
        Dotted key of the study or of the table ``simulation``.
    values : tuple
        Its values.
    sweeps : tuple of Sweep
        The sweep of each value.
    """

    folder: Path
    key: str
    values: tuple[Scalar, ...]
    sweeps: tuple[Sweep, ...]

    def make_folder(self) -> None:
        """Write all that is needed to go on with it after a crash.

        Raises
        ------
        RunError
            ``DISK-FULL`` or ``RUN-FOLDER``.
        """
        for sweep in self.sweeps:
            make_sweep_folder(sweep)
        record = {"key": self.key, "values": self.values, "folders": [sweep.folder.name for sweep in self.sweeps]}
        with translate_disk_errors("the folder of the comparison"):
            write_file(self.folder / VARIED_FILE, json.dumps(record, indent=1).encode())


def plan_varied_sweep(
    study: Path,
    data: Sequence[Path],
    folder: Path,
    strategies: Sequence[str],
    seeds: Sequence[int],
    overrides: Mapping[str, Scalar],
    arms: Sequence[str],
    varied: tuple[str, Sequence[Scalar]],
) -> VariedSweep:
    """Plan a sweep for each value of a key; nothing is started or written.

    Parameters
    ----------
    study, data, strategies, seeds, overrides, arms
        As for `medfl.simulation.sweep_runner.plan_sweep`.
    folder : Path
        Folder of all of them; of runs that are there already, those with the same settings and data are used.
    varied : (str, sequence)
        Dotted key, and its values.

    Raises
    ------
    ConfigError
        When the key or its values are not to be varied or change nothing, and what `plan_sweep` raises for a value.
    """
    key, values = varied
    _check(key, values)
    sweeps = []
    for value, name in zip(values, _folder_names(key, values), strict=True):
        changes = {**overrides, key: value}
        sweeps.append(plan_sweep(study, data, folder, strategies, seeds, changes, arms=arms, folder=folder / name))
    _check_effect(key, values, sweeps)
    return VariedSweep(folder, key, tuple(values), tuple(sweeps))


def check_varied_folder(folder: Path, key: str) -> None:
    """Check that a folder is that of sweeps of this key, to go on with.

    Raises
    ------
    RunError
        ``SWEEP-MISSING`` when it is not.
    """
    if _read_record(folder)[0] != key:
        what = f"{folder.name!r} is not the folder of a comparison that varies {key!r}."
        raise RunError("SWEEP-MISSING", what, "Leave --resume out to start a new one.")


def plan_varied_resumption(folder: Path) -> VariedSweep:
    """Plan what is left of varied sweeps that broke off.

    Raises
    ------
    RunError
        ``SWEEP-MISSING`` when this is not their folder.
    ConfigError, DataError
        As in `medfl.simulation.sweep_runner.plan_sweep`.
    """
    key, values, folders = _read_record(folder)
    return VariedSweep(folder, key, values, tuple(plan_sweep_resumption(folder / name) for name in folders))


def _read_record(folder: Path) -> tuple[str, tuple[Scalar, ...], list[str]]:
    try:
        record = json.loads((folder / VARIED_FILE).read_bytes())
        return record["key"], tuple(record["values"]), record["folders"]
    except (OSError, ValueError, KeyError, TypeError):
        what = f"{folder.name!r} is not the folder of a comparison of several values."
        raise RunError("SWEEP-MISSING", what, "Start a new one.") from None


def _check(key: str, values: Sequence[Scalar]) -> None:
    what = ""
    if key in _FIXED or key.startswith("server."):
        what = f"{key!r} is not what a comparison is made for; vary a key of the study, or of how hospitals are simulated."
    elif len(set(values)) < max(2, len(values)):
        what = "two or more values are needed, all of them different."
    if what:
        raise ConfigError([Problem("--vary", key, what, "For example --vary simulation.alpha=0.1,1,100.")])


def _check_effect(key: str, values: Sequence[Scalar], sweeps: Sequence[Sweep]) -> None:
    """Refuse values between which no federated run differs: a strategy was named with a setting of its own, say."""
    runs = [
        [comparable_config(planned.simulation.app) for planned in sweep.runs if planned.spec.name != LOCAL] for sweep in sweeps
    ]
    for one, other in itertools.combinations(range(len(values)), 2):
        if runs[one] == runs[other]:
            what = f"nothing that is run differs between the values {values[one]} and {values[other]}."
            fix = "What --strategies names goes before the key; leave that out there, or compare strategies with --strategies."
            raise ConfigError([Problem("--vary", key, what, fix)])


def _folder_names(key: str, values: Sequence[Scalar]) -> list[str]:
    """Return a name for each value, with a part of its hash where the name alone is cut or that of another value."""
    slugs = [re.sub(r"[^A-Za-z0-9.]+", "-", f"{key.rpartition('.')[2]}-{value}") for value in values]
    return [
        f"{slug[: _MAX_NAME - 9]}-{hashlib.sha256(str(value).encode()).hexdigest()[:8]}"
        if len(slug) > _MAX_NAME or slugs.count(slug) > 1
        else slug
        for slug, value in zip(slugs, values, strict=True)
    ]
