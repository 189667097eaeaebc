"""Runs, opened to be looked at: status, tables, models and report."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from medfl.api import run_tables
from medfl.api.frames import to_frame
from medfl.api.outcome import RunOutcome, read_outcome
from medfl.report import write_report
from medfl.report.report_data import read_report_data
from medfl.report.report_files import REPORT_FILE
from medfl.report.run_card import render_run_card
from medfl.runs import summaries
from medfl.runs.run_folder import Run, current_status
from medfl.runs.summaries import RunSummary
from medfl.study import Study

if TYPE_CHECKING:
    import pandas
    from torch import nn

    from medfl.models.array_prediction import Predictor
    from medfl.models.run_models import Which


@dataclass(frozen=True)
class OpenRun:
    """A run to look at; what it says is read from its folder each time, so it may still be going on.

    Get one from `open_run` or `simulate`. In a notebook it shows its headlines and verdict.

    Parameters
    ----------
    path : Path
        The run folder.
    study : Study
        The study as it was when the run began, with every change.
    """

    path: Path
    study: Study

    @property
    def status(self) -> str:
        """ "running", "completed", "failed", "stopped", or "interrupted": its process was killed."""
        return current_status(self.path, self._run.history.read())

    @property
    def rounds(self) -> pandas.DataFrame:
        """The rounds, one a row.

        Columns: ``arm``, ``round``, ``score`` (of the model that the round made, on validation patients: Dice or AUROC),
        ``loss``, ``seconds``, ``bytes_up``, ``bytes_down``, and how many sites ``answered`` of those ``asked``.
        """
        return to_frame(run_tables.round_rows(read_report_data(self.path)), run_tables.ROUND_COLUMNS)

    @property
    def scores(self) -> pandas.DataFrame:
        """Every score that the run knows, one a row, nan where it is hidden or not defined.

        Columns: ``arm``; ``owner``, the site whose own model was scored, empty for the shared one; ``split`` ("validation" or
        "test"); ``round`` of the model; ``site`` on whose patients, empty for all together; ``patients``, their number;
        ``class``, empty for all; ``metric`` and ``value``; ``partial``, True where a site's policy hides a part of what the
        value is made of, so that it is that of the other patients. A site that hides everything has no rows.

        Examples
        --------
        >>> scores = run.scores  # doctest: +SKIP
        >>> scores[(scores.split == "test") & (scores.site == "") & (scores.metric == "dice")]  # doctest: +SKIP
        """
        return to_frame(run_tables.score_rows(self.study, self._run.history.read()), run_tables.SCORE_COLUMNS)

    @property
    def patient_scores(self) -> pandas.DataFrame:
        """Results of each test patient; a run of a real federation has none, as they stay at the hospitals.

        Columns: ``owner`` and ``site`` as in `scores`, ``patient`` (a pseudonym), ``truth`` (the class, in a classification),
        ``class``, ``metric`` (for example "dice", or "probability" of the class) and ``value``.
        """
        return to_frame(run_tables.patient_rows(self._run), run_tables.PATIENT_COLUMNS)

    @property
    def report(self) -> Path:
        """The HTML report; it is written first if the folder has none, or an older one than what has happened since."""
        file, written = self.path / REPORT_FILE, self._history_time
        is_new = file.is_file() and (written is None or file.stat().st_mtime_ns >= written)
        return file if is_new else self.write_report()

    def write_report(self) -> Path:
        """Write the HTML report again, and return its path."""
        read = self._history_time  # before the data: what happens meanwhile makes the report an old one
        report = write_report(self.path)
        if read is not None:
            os.utime(report, ns=(read, read))
        return report

    def outcome(self) -> RunOutcome:
        """Write the report again, and return its headlines and verdict; they come also when the report cannot be written."""
        return read_outcome(self.path, self.write_report)

    def model(self, arm: str = "federated", site: str | None = None, which: Which = "best") -> nn.Module:
        """Return a model of the run: the study's network with its weights, on the CPU, in evaluation mode.

        Parameters
        ----------
        arm : {"federated", "local", "pooled", "fine-tuned"}
            Arm that trained it.
        site : str, optional
            Site whose own model is meant: in the arms "local" and "fine-tuned", or where the study gives sites personal models
            or layers of their own. Only a simulation has those, on the machine that ran it.
        which : {"best", "final"}
            The one that was chosen on validation patients, or the one of the last round that was done.

        Returns
        -------
        torch.nn.Module
            Maps prepared images (B, C, X, Y[, Z]) to logits: (B, classes, X, Y[, Z]), or (B, classes) in a classification.

        Raises
        ------
        RunError
            ``RUN-MODEL`` when there is no such model, with the reason.
        """
        from medfl.models.trained_model import open_model

        return open_model(self.path, arm=arm, site=site, which=which).build()

    @property
    def _history_time(self) -> int | None:
        """When the history was written last, in nanoseconds; None where there is none."""
        history = self._run.history.path
        return history.stat().st_mtime_ns if history.is_file() else None

    @property
    def _run(self) -> Run:
        return Run.open(self.path)

    def __repr__(self) -> str:  # kept in a notebook: no folder
        return f"<OpenRun {self.path.name} of {self.study.name}>"

    def _repr_html_(self) -> str:
        return render_run_card(read_report_data(self.path))


def open_run(path: str | os.PathLike[str]) -> OpenRun:
    """Open the folder of a run.

    Parameters
    ----------
    path : path
        The folder, such as ``runs/hippocampus/20260131T120000Z-a1b2c3``.

    Raises
    ------
    RunError
        ``RUN-MISSING`` when it is no run folder, ``RUN-DAMAGED`` when it cannot be read.
    """
    folder = Path(path).expanduser().resolve()
    return OpenRun(folder, Run.open(folder).study)


def load_run(
    path: str | os.PathLike[str],
    arm: str = "federated",
    site: str | None = None,
    which: Which = "best",
    device: str = "cpu",
) -> Predictor:
    """Load a trained model, to be called with images: it prepares them as in training, and answers on their own axes.

    Parameters
    ----------
    path : path
        Folder of a run, folder of an export, or a ``.safetensors`` file of either.
    arm, site, which
        Of a run, which of its models is meant: see `OpenRun.model`.
    device : str
        Device of torch, such as ``"cpu"`` or ``"cuda"``.

    Raises
    ------
    RunError
        ``MODEL-FILE``, ``RUN-MODEL``, ``RUN-DAMAGED`` or ``CHECKPOINT-DAMAGED``.

    Examples
    --------
    >>> model = load_run("hippocampus")  # doctest: +SKIP
    >>> mask = model(nibabel.load("image.nii.gz"))  # doctest: +SKIP
    """
    from medfl.models.array_prediction import Predictor
    from medfl.models.trained_model import open_model

    return Predictor(open_model(Path(path).expanduser(), arm=arm, site=site, which=which), device)


def list_runs(folder: str | os.PathLike[str] = "runs") -> list[RunSummary]:
    """Return a summary of every run in a folder, oldest first; ``open_run(summary.path)`` opens one.

    Parameters
    ----------
    folder : path
        Folder that holds runs, as ``out`` of `simulate`.

    Examples
    --------
    >>> list_runs("a folder without runs")
    []
    """
    return summaries.list_runs(Path(folder).expanduser().resolve())
