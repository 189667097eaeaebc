"""Where tables of cases lie: in the folder of a simulated run, at a hospital that tested a model, beside predictions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from medfl.data.index.prediction_folders import find_prediction_files
from medfl.data.simulated_sites import read_simulated_sites
from medfl.data.store.cache_key import STATE_FOLDER, site_root
from medfl.errors import MedflError, RunError
from medfl.runs.case_table import CASES_FILE, MASKS_FOLDER, CaseResult, CaseTable, picture_of, rank, read_case_table
from medfl.runs.own_tests import OwnTest, list_own_tests
from medfl.runs.run_folder import STUDY_JSON, Run
from medfl.site import read_site
from medfl.system.text import join_words

SITE_FILE = "site.toml"
_PERSONAL = "personal"  # folder of the results of a site's own model beside those of the shared one


@dataclass(frozen=True)
class CaseSource:
    """One table of cases.

    Parameters
    ----------
    file : Path
        The table.
    table : CaseTable
        Its content.
    masks : Path
        Folder of predictions that holds the masks, if it is there.
    site : str
        The hospital; empty beside predictions.
    personal : bool
        Whether it is of the hospital's own model instead of the shared one.
    whois : str
        What `medfl data whois` needs besides the pseudonym, to name the patient; empty where that is not known.
    """

    file: Path
    table: CaseTable
    masks: Path
    site: str = ""
    personal: bool = False
    whois: str = ""

    def picture_of(self, result: CaseResult) -> Path:
        """Return where the picture of a case lies, if there is one."""
        return picture_of(self.file, result.case)

    def mask_of(self, result: CaseResult) -> Path | None:
        """Return where the whole mask of a case lies, if there is one."""
        names = find_prediction_files(self.masks, result.case) if result.structures and not self.personal else []
        return self.masks / names[0] if names else None


@dataclass(frozen=True)
class CaseCollection:
    """All tables of one run, hospital or folder of predictions: what they are of, and where a page on them is written."""

    title: str
    folder: Path
    dimension: int
    sources: tuple[CaseSource, ...] = field(repr=False)

    def worst_first(self, *, personal: bool = False) -> list[tuple[CaseSource, CaseResult]]:
        """Return the cases by rising score: of the shared model or of predictions, or of the hospitals' own models."""
        sources = [source for source in self.sources if source.personal == personal]
        pairs = [(source, result) for source in sources for result in source.table.results]
        return sorted(pairs, key=lambda pair: rank(pair[1]))


def open_cases(path: Path, run: str = "") -> CaseCollection:
    """Find the tables of cases of a run folder, of a hospital, or beside predictions, and read them.

    Parameters
    ----------
    path : Path
        Folder of a simulated run; a ``site.toml`` or its folder; a table, or its folder.
    run : str
        Of a hospital: name of the run, or its beginning; the newest test unless given.

    Raises
    ------
    RunError
        ``CASES-MISSING`` when there is none, ``CASES-DAMAGED`` when one cannot be read.
    """
    if (path / STUDY_JSON).is_file():
        return _open_run(path)
    if path.suffix == ".toml" or (path / SITE_FILE).is_file():
        return _open_site(path, run)
    file = path if path.suffix == ".csv" else path / CASES_FILE
    if not file.is_file():
        fix = "Name the folder of a run, the site.toml of a hospital, or the folder of predictions."
        raise RunError("CASES-MISSING", "there is no table of cases here.", fix)
    source = CaseSource(file, read_case_table(file), file.parent)
    return CaseCollection("Predictions", file.parent, 3 if source.table.unit == "ml" else 2, (source,))


def _open_run(path: Path) -> CaseCollection:
    run = Run.open(path)
    whois = str(path) if _is_here(run) else ""
    folders = [(folder, folder.name) for folder in sorted(path.glob("sites/*"))]
    sources = [source for folder, site in folders for source in _read_folder(folder, site, whois)]
    if not sources:
        what = "this run has no table of cases: no model was tested, or it is one of a federation, whose hospitals keep theirs."
        raise RunError("CASES-MISSING", what, "At a hospital: medfl report --cases SITE.toml")
    return CaseCollection(f"{run.study.name}, run {path.name}", path, run.study.task.dimension, tuple(sources))


def _read_folder(folder: Path, site: str, whois: str) -> Iterator[CaseSource]:
    """Yield the table of the shared model, and that of the site's own one, where they are."""
    for personal, file in ((False, folder / CASES_FILE), (True, folder / _PERSONAL / CASES_FILE)):
        if file.is_file():
            yield CaseSource(file, read_case_table(file), folder / MASKS_FOLDER, site, personal, whois)


def _is_here(run: Run) -> bool:
    """Return whether the data of a simulated run is on this machine, so that a pseudonym leads to a patient."""
    try:
        return bool(read_simulated_sites(run.app.simulation))
    except (MedflError, OSError):
        return False


def _open_site(path: Path, run: str) -> CaseCollection:
    site = read_site(path)
    tests = list_own_tests(site_root(site) / STATE_FOLDER)
    test = _choose(tests, run)
    sources = tuple(_read_folder(test.folder, site.name, str(path)))
    return CaseCollection(f"{test.study}, run {test.run}", test.folder, test.dimension, sources)


def _choose(tests: Sequence[OwnTest], run: str) -> OwnTest:
    found = [test for test in tests if test.run.startswith(run)]
    if found:
        return found[-1]
    names = join_words([test.run for test in tests])
    what = f"this hospital tested no model of a run {run!r}." if run else "this hospital has tested no model yet."
    raise RunError("CASES-MISSING", what, f"It has tested one in {names}." if names else "A study ends with a test.")
