"""Pulling the series that a site wants from its PACS into its data folder; it can be stopped and started at any moment."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import datetime
from importlib.util import find_spec
from typing import Protocol, TypeVar

from medfl.data.library_output import silence_libraries
from medfl.data.pacs.dicomweb import DicomWeb
from medfl.data.pacs.dimse import Dimse
from medfl.data.pacs.pacs_errors import SINGLE_SERIES_CODES, TRANSIENT_CODES, PullStopped, incomplete_error, pacs_error
from medfl.data.pacs.series_download import HIDDEN_FOLDER, SeriesDownload, download_folder
from medfl.data.pacs.series_query import SeriesInfo, SeriesQuery, read_query
from medfl.errors import ConfigError, DataError, Problem
from medfl.site import Site
from medfl.site.pacs import Pacs

BACKOFF_SECONDS = 1.0  # before the second attempt; doubled before each further one
_POLL_SECONDS = 0.5  # between two looks at how far the series have come
T = TypeVar("T")


class PacsClient(Protocol):
    """A PACS, whatever it speaks."""

    def find(self, wanted: SeriesQuery) -> Iterable[SeriesInfo]:
        """Return the series that it offers."""

    def listen(self) -> AbstractContextManager[None]:
        """Be ready for what it sends on its own account."""

    def fetch(self, landing: SeriesDownload) -> None:
        """Bring the images of one series."""


@dataclass(frozen=True)
class PullProgress:
    """How far a pull is: series and images that are done, of how many that must come."""

    series_done: int
    series: int
    images_done: int
    images: int


@dataclass(frozen=True)
class PullResult:
    """What a pull did, or with a dry run would do.

    Parameters
    ----------
    found : tuple of (str, int, int)
        What the PACS has of what is wanted: modality, series and images.
    already_present : int
        Series that an earlier pull has brought.
    series, images : int
        What came now, or with a dry run would come.
    not_started : int
        Series that were not begun before the allowed hours ended.
    problems : tuple of DataError
        Series that did not come.
    """

    found: tuple[tuple[str, int, int], ...]
    already_present: int
    series: int
    images: int
    not_started: int = 0
    problems: tuple[DataError, ...] = ()


def pull_series(
    site: Site, *, dry_run: bool = False, progress: Callable[[PullProgress], object] = lambda _: None
) -> PullResult:
    """Bring the series that the table ``pacs`` of a site asks for into the site's data folder.

    Only whole series get their place, ``study-XXXX/series-XXXX/img-XXXX.dcm``; the names are keyed hashes of UIDs. Those that
    are there already are not asked for again. What identifies patients and studies is kept in memory only.

    Parameters
    ----------
    site : Site
        With a table ``pacs``.
    dry_run : bool
        Ask the PACS what it has, and fetch nothing.
    progress : callable
        Gets a `Progress` now and then.

    Raises
    ------
    ConfigError
        When the site has no such table.
    DataError
        ``PACS-...`` when nothing more can come, ``DISK-FULL``, ``SITE-SECRET``. What came before is kept.
    """
    if site.pacs is None:
        raise ConfigError([Problem("site.toml", "pacs", "this table is required and is missing.", "See docs/pacs.md.")])
    pacs, secret = site.pacs, site.secret()
    if not is_allowed(pacs.hours):
        raise pacs_error("PACS-HOURS", " to ".join(pacs.hours.split("-")))
    wanted = read_query(pacs.query, site.folder)
    stop = threading.Event()
    with silence_libraries():
        remote = _make_client(site, pacs)
        chosen = wanted.select(_retry(lambda: list(remote.find(wanted)), pacs.retries, stop))
        landings = [SeriesDownload(found, site.root, site.root / HIDDEN_FOLDER, secret, stop) for found in chosen]
        todo = [landing for landing in landings if not landing.is_done()]
        there = len(landings) - len(todo)
        if dry_run:
            return PullResult(
                _count_by_modality(chosen), there, len(todo), sum(landing.series_info.expected for landing in todo)
            )
        with download_folder(site.root), remote.listen():
            outcomes = _fetch_all(remote, pacs, todo, stop, progress)
    came = [landing for landing, outcome in outcomes if outcome is None]
    return PullResult(
        found=_count_by_modality(chosen),
        already_present=there,
        series=len(came),
        images=sum(landing.received for landing in came),
        not_started=sum(outcome is not None and outcome.code == "PACS-HOURS" for _, outcome in outcomes),
        problems=tuple(outcome for _, outcome in outcomes if outcome is not None and outcome.code != "PACS-HOURS"),
    )


def is_allowed(hours: str, now: datetime | None = None) -> bool:
    """Return whether the PACS may be asked now.

    Parameters
    ----------
    hours : str
        ``"19-06"``: from 19:00 until 06:00 local time; empty: always.
    now : datetime, optional
        Another moment than this one.

    Examples
    --------
    >>> [is_allowed("19-06", datetime(2024, 1, 1, hour)) for hour in (5, 6, 18, 19)]
    [True, False, False, True]
    """
    if not hours:
        return True
    begin, end = (int(part) for part in hours.split("-"))
    hour = (now or datetime.now()).hour
    return begin <= hour < end if begin < end else hour >= begin or hour < end


def _make_client(site: Site, pacs: Pacs) -> PacsClient:
    if any(find_spec(library) is None for library in ("dicomweb_client", "pynetdicom")):
        raise pacs_error("PACS-EXTRA-MISSING")
    return DicomWeb(pacs, site.folder) if pacs.kind == "dicomweb" else Dimse(pacs, site.folder)


def _retry(action: Callable[[], T], retries: int, stop: threading.Event) -> T:
    """Do something that may fail for a while, and wait longer after each failure."""
    for attempt in range(retries):
        try:
            return action()
        except DataError as error:
            if error.code not in TRANSIENT_CODES:
                raise
        if stop.wait(BACKOFF_SECONDS * 2**attempt):
            raise PullStopped
    return action()


def _fetch_all(
    remote: PacsClient,
    pacs: Pacs,
    todo: Sequence[SeriesDownload],
    stop: threading.Event,
    progress: Callable[[PullProgress], object],
) -> list[tuple[SeriesDownload, DataError | None]]:
    """Fetch several series at once; raise the first problem that concerns all of them."""
    expected = sum(landing.series_info.expected for landing in todo)
    with ThreadPoolExecutor(pacs.max_parallel, thread_name_prefix="pacs") as pool, _stop_on_error(pool, stop):
        fetches = {pool.submit(_fetch_series, remote, pacs, landing): landing for landing in todo}
        waiting: set[Future[DataError | None]] = set(fetches)
        while waiting:
            done, waiting = wait(waiting, _POLL_SECONDS, FIRST_COMPLETED)
            for future in done:
                future.result()  # raises what ends the whole pull
            arrived = sum(landing.received for landing in todo)
            progress(PullProgress(len(todo) - len(waiting), len(todo), arrived, max(expected, arrived)))
        return [(landing, future.result()) for future, landing in fetches.items()]


@contextmanager
def _stop_on_error(pool: ThreadPoolExecutor, stop: threading.Event) -> Iterator[None]:
    """When anything goes wrong, Ctrl-C included, let no further image be written and wait until all threads know it."""
    try:
        yield
    except BaseException:
        stop.set()
        pool.shutdown(cancel_futures=True)
        raise


def _fetch_series(remote: PacsClient, pacs: Pacs, landing: SeriesDownload) -> DataError | None:
    """Fetch one series; return why it did not come, and raise what will happen to the others too."""
    if landing.stop.is_set():
        raise PullStopped
    if not is_allowed(pacs.hours):
        return pacs_error("PACS-HOURS", case=landing.name)

    def attempt() -> None:
        remote.fetch(landing)
        if landing.image_count < max(landing.series_info.expected, 1):
            raise incomplete_error(landing.image_count, landing.series_info.expected)

    try:
        _retry(attempt, pacs.retries, landing.stop)
        landing.commit()
    except DataError as error:
        if error.code not in SINGLE_SERIES_CODES:
            raise
        return DataError(error.code, error.what, error.fix, landing.name)
    finally:
        landing.discard()
    return None


def _count_by_modality(chosen: Sequence[SeriesInfo]) -> tuple[tuple[str, int, int], ...]:
    kinds = sorted({found.modality for found in chosen})
    return tuple(
        (kind, sum(f.modality == kind for f in chosen), sum(f.expected for f in chosen if f.modality == kind)) for kind in kinds
    )
