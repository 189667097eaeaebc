"""Studies, opened to be read, changed and checked."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from medfl.api.study_changes import to_scalars
from medfl.api.study_check import StudyCheck
from medfl.data.simulated_sites import join_folders, read_simulated_sites
from medfl.report.check_cards import render_study_card
from medfl.study import Study, StudyApp, read_app, read_study_file
from medfl.study.algorithms import ALGORITHMS
from medfl.study.study_file import Scalar, StudyFile
from medfl.system.text import plural

DataFolders = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]


@dataclass(frozen=True, eq=False)
class OpenStudy:
    """A study that was read and found valid, with the changes that were made to it. Get one from `open_study`.

    In a notebook it shows itself. Its representation is kept in the notebook, and names no folder.

    Parameters
    ----------
    file : StudyFile
        The file of the study.
    changes : mapping
        Dotted keys of the study with other values than in the file.
    app : StudyApp
        The study with the changes, and how it is simulated and served.

    Examples
    --------
    >>> study = open_study("sample_configs/hippocampus").change(rounds=2)
    >>> study.study.rounds, study.changes
    (2, {'rounds': 2})
    """

    file: StudyFile
    changes: Mapping[str, Scalar]
    app: StudyApp = field(repr=False)

    @property
    def study(self) -> Study:
        """What to do: all that a hospital reads and approves."""
        return self.app.study

    def change(self, changes: Mapping[str, Any] | None = None, **tables: Any) -> OpenStudy:
        """Return the study with other values; this one stays as it is.

        Parameters
        ----------
        changes : mapping, optional
            Dotted keys with their values.
        **tables : Any
            Keys of the study at the top, each with its value, or with keys and values where it is a table. Lists are written as
            the study has them, with commas.

        Raises
        ------
        ConfigError
            When the study would not be valid, with all problems.

        Examples
        --------
        >>> study = open_study("sample_configs/hippocampus")
        >>> study.change({"optimizer.learning-rate": 0.01}).study.optimizer.learning_rate
        0.01
        >>> study.change(rounds=2, training={"patch": [32, 32, 32]}).study.training.patch
        (32, 32, 32)
        """
        more = to_scalars({**(changes or {}), **tables})
        return _read(self.file, {**self.changes, **more}) if more else self

    def __repr__(self) -> str:
        return f"<OpenStudy {self.study.name}: {plural(self.study.rounds, 'round')} of {self.study.strategy.name}>"

    def _repr_html_(self) -> str:
        return render_study_card(self.study, ())

    def check(self, data: DataFolders = ()) -> StudyCheck:
        """Return what there is to know before the study runs, as ``medfl study check`` prints it.

        Parameters
        ----------
        data : path, or sequence of paths
            Folders with the data of simulated hospitals, which are looked for. ``check.data("hospital-a")`` then reads the
            cases of one.

        Raises
        ------
        ConfigError, DataError
            When an option of a strategy of another package is wrong, or a ``site.toml``, or there are no hospitals in the data.
        """
        if self.study.strategy.name not in ALGORITHMS:
            from medfl.strategies.strategy_registry import build_strategy

            build_strategy(self.study, self.app.quorum)  # only the package that offers it knows its options
        folders = to_paths(data)
        opened = self.change({"simulation.data": join_folders(folders)}) if folders else self
        sites = read_simulated_sites(opened.app.simulation) if folders else ()
        return StudyCheck(opened.study, self.file.folder, dict(opened.changes), sites)


def open_study(path: str | os.PathLike[str], changes: Mapping[str, Any] | None = None) -> OpenStudy:
    """Read a study and check it.

    Parameters
    ----------
    path : path
        Folder of the study, or its pyproject.toml.
    changes : mapping, optional
        Dotted keys with other values, as for `OpenStudy.change`; the file alone need not be valid then.

    Raises
    ------
    ConfigError
        With all problems of the study, each with the nearest valid name.

    Examples
    --------
    >>> open_study("sample_configs/hippocampus").study.task.classes
    ('background', 'anterior', 'posterior')
    """
    return _read(read_study_file(Path(path).expanduser()), to_scalars(changes or {}))


def to_paths(folders: DataFolders) -> list[Path]:
    """Return one folder or several as absolute paths."""
    several = [folders] if isinstance(folders, str | os.PathLike) else folders
    return [Path(folder).expanduser().resolve() for folder in several]


def _read(file: StudyFile, changes: Mapping[str, Scalar]) -> OpenStudy:
    return OpenStudy(file, changes, read_app(file, changes))
