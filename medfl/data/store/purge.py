"""Removing what is no longer wanted: prepared data, which can be made again, and what runs left here, which can not."""

from __future__ import annotations

import contextlib
import re
import shutil
import time
from collections import defaultdict
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from medfl.data.store.files import read_json, unwritable
from medfl.data.store.plan import STATE, plan_digest, site_root
from medfl.data.store.shelf import ABOUT
from medfl.site import Site
from medfl.study import Study

_DAY = 86400.0
_SHELF = re.compile(r"[0-9a-f]{16}")
_CASE = re.compile(r"(?P<name>.+)-[0-9a-f]{16}")


@dataclass(frozen=True)
class Purgeable:
    """Something that can be removed.

    Parameters
    ----------
    folders : tuple of Path
        What goes. Local only.
    study : str
        Name of the study that used it last; empty when nobody told.
    why : {"plan", "superseded", "run"}
        A whole plan, or only copies of cases in a plan that stays, made before their files changed, or what the algorithm of a
        run had to remember here, the site's own model among it.
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


def purgeable(
    site: Site, keep: Collection[Study] = (), older_than: float = 0.0, *, runs: bool = False
) -> tuple[Purgeable, ...]:
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

    Returns
    -------
    tuple of Purgeable
        Largest first.
    """
    root = site_root(site)
    wanted = {plan_digest(site, study)[:16] for study in keep}
    found: list[Purgeable] = []
    for shelf in sorted(root.iterdir()) if root.is_dir() else ():
        if shelf.is_dir() and _SHELF.fullmatch(shelf.name):
            found += _of_shelf(shelf, shelf.name in wanted, older_than)
    if runs:
        approved = {study.approved_hash()[:16] for study in keep}
        found += _of_runs(root / STATE, approved, older_than)
    return tuple(sorted(found, key=lambda item: -item.size))


def purge(items: Collection[Purgeable]) -> int:
    """Remove what `purgeable` found, and return the bytes that it took. A training that uses it stops with ``STORE-LOST``.

    Raises
    ------
    DataError
        ``STORE-UNWRITABLE`` when something can not be removed.
    """
    for item in items:
        for folder in item.folders:
            try:
                shutil.rmtree(folder)
            except FileNotFoundError:
                continue  # somebody else was faster
            except OSError as error:
                raise unwritable(error) from None
    return sum(item.size for item in items)


def _of_shelf(shelf: Path, wanted: bool, older_than: float) -> Iterator[Purgeable]:
    about = str((read_json(shelf / ABOUT) or {}).get("study", ""))
    if wanted:
        places = tuple(_superseded(shelf))
        if places:
            days = min(_days(place) for place in places)
            yield Purgeable(places, about, "superseded", len(places), sum(map(_size, places)), days)
        return
    days = _days(shelf)
    if days >= older_than:
        cases = sum(entry.is_dir() and bool(_CASE.fullmatch(entry.name)) for entry in shelf.iterdir())
        yield Purgeable((shelf,), about, "plan", cases, _size(shelf), days)


def _of_runs(states: Path, wanted: Collection[str], older_than: float) -> Iterator[Purgeable]:
    for run in sorted(states.glob("*/*")):
        days = _days(run)
        if run.is_dir() and run.parent.name not in wanted and days >= older_than:
            yield Purgeable((run,), "", "run", 0, _size(run), days)


def _superseded(shelf: Path) -> Iterator[Path]:
    """Yield all copies of each case but the one that was made last."""
    copies: dict[str, list[Path]] = defaultdict(list)
    for entry in shelf.iterdir():
        match = _CASE.fullmatch(entry.name)
        if match and entry.is_dir() and not entry.name.startswith("."):
            copies[match["name"]].append(entry)
    for places in copies.values():
        yield from sorted(places, key=lambda place: place.stat().st_mtime)[:-1]


def _days(folder: Path) -> float:
    return max(0.0, (time.time() - folder.stat().st_mtime) / _DAY)


def _size(folder: Path) -> int:
    size = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError):
            size += path.stat().st_size if path.is_file() else 0
    return size
