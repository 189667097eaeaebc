"""Pull of the series that a site asks for from its PACS into its data folder; it can be stopped and resumed at any time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Protocol

from medfl.data.library_output import silence_libraries
from medfl.data.pacs.attempts import is_allowed, retry
from medfl.data.pacs.dicomweb import DicomWeb
from medfl.data.pacs.dimse import Dimse
from medfl.data.pacs.pacs_errors import SINGLE_SERIES_CODES, PullStopped, incomplete_error, pacs_error
from medfl.data.pacs.series_download import HIDDEN_FOLDER, SeriesDownload, download_folder
from medfl.data.pacs.series_query import SeriesInfo, SeriesQuery, read_query
from medfl.errors import ConfigError, DataError, Problem
from medfl.site import Site
from medfl.site.pacs import Pacs

_POLL_SECONDS = 0.5  # between two updates of the progress


class PacsClient(Protocol):
    """Client of a PACS, whatever its protocol."""

    def find(self, query: SeriesQuery) -> Iterable[SeriesInfo]:
        """Return the series that the PACS offers."""

    def listen(self) -> AbstractContextManager[None]:
        """Be ready to receive what the PACS sends over connections of its own."""

    def fetch(self, download: SeriesDownload) -> None:
        """Download the images of one series."""


@dataclass(frozen=True)
class PullProgress:
    """Progress of a pull: series and images done, and how many there are in all."""

    series_done: int
    series: int
    images_done: int
    images: int


@dataclass(frozen=True)
class PullResult:
    """Result of a pull, or with a dry run what it would do.

    Parameters
    ----------
    found : tuple of (str, int, int)
        What the PACS has of what was asked for: modality, series and images.
    already_present : int
        Series that an earlier pull fetched.
    series, images : int
        What was fetched now, or with a dry run would be fetched.
    not_started : int
        Series not begun before the allowed hours ended.
    problems : tuple of DataError
        Errors of the series that could not be fetched.
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
    """Fetch the series that the table ``pacs`` of a site asks for into the site's data folder.

    Only complete series are moved to their final place, ``study-XXXX/series-XXXX/img-XXXX.dcm``; the names are keyed hashes of
    UIDs. Series already present are not fetched again. What identifies patients and studies is kept in memory only.

    Parameters
    ----------
    site : Site
        Site with a table ``pacs``.
    dry_run : bool
        Only ask the PACS what it has.
    progress : callable
        Called with a `PullProgress` now and then.

    Raises
    ------
    ConfigError
        When the site has no such table.
    DataError
        ``PACS-...`` when nothing more can be fetched, ``DISK-FULL``, ``SITE-SECRET``. What was fetched before is kept.
    """
    pacs = site.pacs
    if pacs is None or pacs.query is None:
        table = "pacs.query" if pacs else "pacs"
        raise ConfigError([Problem("site.toml", table, "this table is required and is missing.", "See docs/pacs.md.")])
    secret = site.secret()
    if not is_allowed(pacs.hours):
        raise pacs_error("PACS-HOURS", " to ".join(pacs.hours.split("-")))
    query = read_query(pacs.query, site.folder)
    stop = threading.Event()
    with silence_libraries():
        client = _make_client(site, pacs)
        chosen = query.select(retry(lambda: list(client.find(query)), pacs.retries, stop))
        downloads = [SeriesDownload(series_info, site.root, site.root / HIDDEN_FOLDER, secret, stop) for series_info in chosen]
        pending = [download for download in downloads if not download.is_done()]
        n_present = len(downloads) - len(pending)
        if dry_run:
            return PullResult(
                _count_by_modality(chosen), n_present, len(pending), sum(download.series_info.expected for download in pending)
            )
        with download_folder(site.root), client.listen():
            outcomes = _fetch_all(client, pacs, pending, stop, progress)
    complete = [download for download, outcome in outcomes if outcome is None]
    return PullResult(
        found=_count_by_modality(chosen),
        already_present=n_present,
        series=len(complete),
        images=sum(download.received for download in complete),
        not_started=sum(outcome is not None and outcome.code == "PACS-HOURS" for _, outcome in outcomes),
        problems=tuple(outcome for _, outcome in outcomes if outcome is not None and outcome.code != "PACS-HOURS"),
    )


def _make_client(site: Site, pacs: Pacs) -> PacsClient:
    if any(find_spec(library) is None for library in ("dicomweb_client", "pynetdicom")):
        raise pacs_error("PACS-EXTRA-MISSING")
    return DicomWeb(pacs, site.folder) if pacs.kind == "dicomweb" else Dimse(pacs, site.folder)


def _fetch_all(
    client: PacsClient,
    pacs: Pacs,
    pending: Sequence[SeriesDownload],
    stop: threading.Event,
    progress: Callable[[PullProgress], object],
) -> list[tuple[SeriesDownload, DataError | None]]:
    """Fetch several series at once; raise the first error that concerns all of them."""
    expected = sum(download.series_info.expected for download in pending)
    with ThreadPoolExecutor(pacs.max_parallel, thread_name_prefix="pacs") as pool, _stop_on_error(pool, stop):
        fetches = {pool.submit(_fetch_series, client, pacs, download): download for download in pending}
        waiting: set[Future[DataError | None]] = set(fetches)
        while waiting:
            done, waiting = wait(waiting, _POLL_SECONDS, FIRST_COMPLETED)
            for future in done:
                future.result()  # raises what ends the whole pull
            received = sum(download.received for download in pending)
            progress(PullProgress(len(pending) - len(waiting), len(pending), received, max(expected, received)))
        return [(download, future.result()) for future, download in fetches.items()]


@contextmanager
def _stop_on_error(pool: ThreadPoolExecutor, stop: threading.Event) -> Iterator[None]:
    """After any error, Ctrl-C included, let no further image be written and wait until all threads have stopped."""
    try:
        yield
    except BaseException:
        stop.set()
        pool.shutdown(cancel_futures=True)
        raise


def _fetch_series(client: PacsClient, pacs: Pacs, download: SeriesDownload) -> DataError | None:
    """Fetch one series; return its error, or raise it if it concerns the others too."""
    if download.stop.is_set():
        raise PullStopped
    if not is_allowed(pacs.hours):
        return pacs_error("PACS-HOURS", case=download.name)

    def attempt() -> None:
        client.fetch(download)
        if download.image_count < max(download.series_info.expected, 1):
            raise incomplete_error(download.image_count, download.series_info.expected)

    try:
        retry(attempt, pacs.retries, download.stop)
        download.commit()
    except DataError as error:
        if error.code not in SINGLE_SERIES_CODES:
            raise
        return DataError(error.code, error.what, error.fix, download.name)
    finally:
        download.discard()
    return None


def _count_by_modality(chosen: Sequence[SeriesInfo]) -> tuple[tuple[str, int, int], ...]:
    images: dict[str, list[int]] = {}
    for series_info in chosen:
        images.setdefault(series_info.modality, []).append(series_info.expected)
    return tuple((modality, len(counts), sum(counts)) for modality, counts in sorted(images.items()))
