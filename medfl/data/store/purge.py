"""Removing what is no longer wanted: prepared data, which can be made again, and what runs left here, which cannot."""

from __future__ import annotations

import contextlib
import re
import shutil
import time
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from medfl.data.store.cache_folder import ABOUT_FILE
from medfl.data.store.cache_key import START_FOLDER, STATE_FOLDER, compute_cache_key, site_root
from medfl.data.store.private_folder import unwritable_error
from medfl.site import Site
from medfl.study import Study
from medfl.system.files import read_json

_DAY = 86400.0
_CACHE_FOLDER_NAME = re.compile(r"[0-9a-f]{16}")
_CASE_FOLDER_NAME = re.compile(r"(?P<name>.+)-[0-9a-f]{16}")


@dataclass(frozen=True)
class PurgeCandidate:
    """Something that can be removed.

    Parameters
    ----------
    folders : tuple of Path
        What goes. Local only.
    study : str
        Name of the study that used it last; empty when it is unknown.
    why : {"plan", "superseded", "run"}
        A whole plan, or only copies of cases in a plan that stays, made before their files changed, or what a run left here:
        what its algorithm had to remember, the models that the site trained in it, or the first model that it sent.
    cases, size : int
        Prepared cases, and bytes.
    days : float
        Since it was used last.
    """

    folders: tuple[Path, ...]
    study: str
    why: str
    cases: int
    size: int
    days: float


def find_purgeable(
    site: Site, keep: Collection[Study] = (), older_than: float = 0.0, *, runs: bool = False, answers: Path | None = None
) -> tuple[PurgeCandidate, ...]:
    """Find prepared data of a site that no study uses.

    Parameters
    ----------
    site : Site
        The hospital.
    keep : collection of Study
        Studies that are still wanted.
    older_than : float
        Days; what was used later stays.
    runs : bool
        Also what runs of other studies left; a run that still goes on would miss it.
    answers : Path, optional
        Folder of the trained models that the site keeps to answer a repeated question, in folders ``<study>/<run>/models``;
        they count as what runs left.

    Returns
    -------
    tuple of PurgeCandidate
        Largest first.
    """
    root = site_root(site)
    wanted = {compute_cache_key(site, study)[:16] for study in keep}
    found: list[PurgeCandidate] = []
    for cache_folder in sorted(root.iterdir()) if root.is_dir() else ():
        if cache_folder.is_dir() and _CACHE_FOLDER_NAME.fullmatch(cache_folder.name):
            found += _find_in_cache_folder(cache_folder, cache_folder.name in wanted, older_than)
    if runs:
        approved = {name for study in keep for name in (study.approved_hash()[:16], study.start.arrays)}
        states, kept = (root / STATE_FOLDER).glob("*/*"), answers.glob("*/*/models") if answers else ()
        of_runs = [*((run.parent.name, run) for run in states), *((run.parent.parent.name, run) for run in kept)]
        of_runs += [(start.name, start) for start in (root / START_FOLDER).glob("*")]
        found += _find_in_runs(sorted(of_runs), approved, older_than)
    return tuple(sorted(found, key=lambda item: -item.size))


def purge(items: Collection[PurgeCandidate]) -> int:
    """Remove what `find_purgeable` found, and return the bytes that it took. A training that uses it stops with ``STORE-LOST``.

    Raises
    ------
    DataError
        ``STORE-UNWRITABLE`` when something cannot be removed.
    """
    for item in items:
        for folder in item.folders:
            try:
                shutil.rmtree(folder)
            except FileNotFoundError:
                continue  # somebody else was faster
            except OSError as error:
                raise unwritable_error(error) from None
    return sum(item.size for item in items)


def _find_in_cache_folder(cache_folder: Path, wanted: bool, older_than: float) -> Iterator[PurgeCandidate]:
    about = str((read_json(cache_folder / ABOUT_FILE) or {}).get("study", ""))
    if wanted:
        entries = tuple(_iter_superseded(cache_folder))
        if entries:
            days = min(_age_days(entry) for entry in entries)
            yield PurgeCandidate(entries, about, "superseded", len(entries), sum(map(_folder_size, entries)), days)
        return
    days = _age_days(cache_folder)
    if days >= older_than:
        cases = sum(entry.is_dir() and bool(_CASE_FOLDER_NAME.fullmatch(entry.name)) for entry in cache_folder.iterdir())
        yield PurgeCandidate((cache_folder,), about, "plan", cases, _folder_size(cache_folder), days)


def _find_in_runs(folders: Iterable[tuple[str, Path]], wanted: Collection[str], older_than: float) -> Iterator[PurgeCandidate]:
    for study, folder in folders:
        days = _age_days(folder)
        if folder.is_dir() and study not in wanted and days >= older_than:
            yield PurgeCandidate((folder,), "", "run", 0, _folder_size(folder), days)


def _iter_superseded(cache_folder: Path) -> Iterator[Path]:
    """Yield all copies of each case but the one that was made last."""
    copies: dict[str, list[Path]] = defaultdict(list)
    for entry in cache_folder.iterdir():
        match = _CASE_FOLDER_NAME.fullmatch(entry.name)
        if match and entry.is_dir() and not entry.name.startswith("."):
            copies[match["name"]].append(entry)
    for places in copies.values():
        yield from sorted(places, key=lambda place: place.stat().st_mtime)[:-1]


def _age_days(folder: Path) -> float:
    return max(0.0, (time.time() - folder.stat().st_mtime) / _DAY)


def _folder_size(folder: Path) -> int:
    size = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError):
            size += path.stat().st_size if path.is_file() else 0
    return size
