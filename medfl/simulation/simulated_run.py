"""Simulated run of a study on this machine: its hospitals, its engine and its run folder."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from medfl.data.cohort import check_division
from medfl.data.quality.dataset_names import read_declared_modality
from medfl.data.simulated_sites import join_folders, read_simulated_sites
from medfl.errors import ConfigError, DataError, EngineError, Problem
from medfl.runs.history import HistoryTail
from medfl.runs.model_library import find_start_file
from medfl.runs.run_folder import busy_error, new_run_name
from medfl.simulation.embedded_engine import default_workers, run_embedded
from medfl.simulation.ray_engine import run_ray
from medfl.simulation.worker_pool import has_cuda
from medfl.site import Site
from medfl.strategies.strategy_registry import build_strategy
from medfl.study import Study, StudyApp, read_app_and_run_config, read_study_file
from medfl.study.external_hospitals import check_external
from medfl.study.study_file import STUDY_FILE, Scalar, StudyFile
from medfl.system.locks import take_lock

Engine = Literal["embedded", "ray"]
_RESERVATION = ".resumed"  # in the run folder: locked while a process goes on with the run


@dataclass(frozen=True)
class SimulatedRun:
    """Study with its simulated hospitals, ready to run.

    Parameters
    ----------
    study_file : StudyFile
        The file of the study.
    app : StudyApp
        The study, and how it is simulated, with every override.
    run_config : dict
        The same as Flower's flat run configuration.
    sites : tuple of Site
        The hospitals; node k of the run is the k-th.
    run : Path
        The run folder that will be made.
    """

    study_file: StudyFile
    app: StudyApp
    run_config: dict[str, Scalar]
    sites: tuple[Site, ...]
    run: Path

    @property
    def study(self) -> Study:
        """The study that is simulated."""
        return self.app.study

    @contextmanager
    def reserve(self) -> Iterator[None]:
        """Hold the folder of a run that goes on, so that no second attempt begins; one that dies releases it.

        Raises
        ------
        RunError
            ``RUN-BUSY``.
        """
        if not self.app.server.resume:  # the folder of a new run is not there yet, and nobody else knows its name
            yield
            return
        with (self.run / _RESERVATION).open("a") as file:
            if not take_lock(file):
                raise busy_error(self.app, self.run.name)
            yield

    def start(self, engine: Engine = "embedded", workers: int = 0, stop: threading.Event | None = None) -> None:
        """Run to the end.

        Parameters
        ----------
        engine : {"embedded", "ray"}
            Both give the same numbers.
        workers : int
            Hospitals that train at the same time; 0: as many as the machine has cores for.
        stop : threading.Event, optional
            Set it in another thread to end the run as by Ctrl-C.

        Raises
        ------
        KeyboardInterrupt
            When it was stopped.
        MedflError
            The error that ended the study early; the run folder holds what was done until then.
        """
        threads = self.study.training.threads
        workers = workers or default_workers(len(self.sites), threads)
        if engine == "ray":
            with self._history_explains():
                run_ray(self.study_file, self.run_config, len(self.sites), workers=workers, threads=threads, stop=stop)
        else:
            run_embedded(self.run_config, len(self.sites), workers=workers, threads=threads, cuda=has_cuda(), stop=stop)
        if not self.run.is_dir():
            raise EngineError("RUN-MISSING", "the engine ended without making a run folder.", "Look at the log of the engine.")

    @contextmanager
    def _history_explains(self) -> Iterator[None]:
        """Give the reason that the history has for a failure that Ray's side cannot explain, unless of an earlier attempt."""
        tail = HistoryTail(self.run, skip_past=True)
        try:
            yield
        except EngineError as error:
            end = next(reversed(tail.read_new()), {})
            if error.code != "RAY-FAILED" or end.get("event") != "end":
                raise
            raise EngineError("RAY-FAILED", f"the run under Ray failed: {end.get('reason', '')}") from None


def plan_simulation(
    source: Path | StudyFile, data: Sequence[Path], out: Path, overrides: Mapping[str, Scalar] | None = None
) -> SimulatedRun:
    """Read a study, find its simulated hospitals and choose the run folder; nothing is started or written.

    Parameters
    ----------
    source : Path or StudyFile
        Folder of the study, or what was read of it.
    data : sequence of Path
        Folders with the hospitals' data.
    out : Path
        Parent folder of runs.
    overrides : mapping, optional
        Dotted keys of the study with other values.

    Returns
    -------
    SimulatedRun

    Raises
    ------
    ConfigError
        When the study or a ``site.toml`` is wrong, an external hospital is not in the data, the study asks for Shapley values
        of too many sites, or the data says that it is of another modality.
    DataError
        When there is no hospital in the data.
    RunError
        ``START-FILE`` when the study begins with weights that are not there.
    """
    run = new_run_name()
    paths: dict[str, Scalar] = {"server.out": str(out.resolve()), "server.run": run}
    if data:
        paths["simulation.data"] = join_folders(data)
    study_file = source if isinstance(source, StudyFile) else read_study_file(source)
    app, run_config = read_app_and_run_config(study_file, {**(overrides or {}), **paths})
    if app.study.start.is_given:
        paths["server.start"] = str(find_start_file(app.study.start, study_file.folder).resolve())
        app, run_config = read_app_and_run_config(study_file, {**(overrides or {}), **paths})
    build_strategy(app.study, app.quorum)  # refuses options that the strategy of another package does not take
    sites = read_simulated_sites(app.simulation)
    if not sites:
        raise DataError("NO-SITES", "there is no hospital in the data.", "Name a folder with '--data'.")
    names = {site.name for site in sites}
    check_external(app.study, names)
    app.study.contribution.check_sites(len(names - set(app.study.evaluation.external)))
    if app.simulation.site_count:
        for site in {site.root: site for site in sites}.values():  # once for each folder, before anything starts
            check_division(site, app.study)
    _check_modality(sites, app.study)
    return SimulatedRun(study_file, app, run_config, sites, out.resolve() / app.study.name / run)


def _check_modality(sites: Sequence[Site], study: Study) -> None:
    """Raise when a data set says of itself that it is of another modality than the study."""
    for root in dict.fromkeys(site.root for site in sites):
        declared = read_declared_modality(root)
        if declared and declared != study.task.modality:
            what = f"the study is of {study.task.modality}, and the dataset.json of the data says {declared}."
            fix = f'Write modality = "{declared}", or name other data.'
            raise ConfigError([Problem(STUDY_FILE, "task.modality", what, fix)])
