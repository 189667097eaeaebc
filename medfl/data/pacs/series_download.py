"""Download of a series into a hidden folder, from which it is moved to its place when it is complete."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

from medfl.data.dicom.parsing import parse_file
from medfl.data.pacs.pacs_errors import PullStopped, pacs_error
from medfl.data.pacs.series_query import SeriesInfo
from medfl.data.pseudonyms import pseudonym
from medfl.errors import DiskFullError
from medfl.system.files import is_disk_full, write_file
from medfl.system.locks import take_lock

HIDDEN_FOLDER = ".pull"  # in the data root: layouts skip hidden folders, and a rename needs the same disk


@contextmanager
def download_folder(root: Path) -> Iterator[Path]:
    """Give a pull its hidden folder, without what a killed pull left in it, and remove it afterwards.

    Raises
    ------
    DataError
        ``PACS-BUSY`` when another pull is using it, ``PACS-WRITE`` when it cannot be created.
    """
    hidden = root / HIDDEN_FOLDER
    with _translate_write_errors():
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(root / f"{HIDDEN_FOLDER}.lock", os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        with _translate_write_errors():
            if not take_lock(lock):
                raise pacs_error("PACS-BUSY")
            shutil.rmtree(hidden, ignore_errors=True)
            hidden.mkdir(mode=0o700)
        try:
            yield hidden
        finally:
            shutil.rmtree(hidden, ignore_errors=True)
    finally:
        os.close(lock)  # the empty file stays: if it were removed, two other pulls could lock two different files


class SeriesDownload:
    """Download of one series. Names are keyed hashes of UIDs; images have mode 0600, folders 0700.

    Parameters
    ----------
    series_info : SeriesInfo
        The series.
    root, hidden : Path
        The data folder, and the folder in it that `download_folder` gives.
    secret : bytes
        The site's secret.
    stop : Event
        Set when nothing more may be written.
    """

    def __init__(self, series_info: SeriesInfo, root: Path, hidden: Path, secret: bytes, stop: threading.Event) -> None:
        self.series_info, self.stop, self.received = series_info, stop, 0
        self.name = pseudonym(secret, "series", series_info.series, n=16)
        self._secret = secret
        self._final = root / pseudonym(secret, "study", series_info.study, n=16) / self.name
        self._folder, self._old = hidden / self.name, hidden / f"{self.name}.old"

    @property
    def image_count(self) -> int:
        """Number of images in the hidden folder; `received` also holds after `commit`."""
        return _count_images(self._folder)

    def is_done(self) -> bool:
        """Return whether an earlier pull fetched the series, with as many images as the PACS has now."""
        n_present = _count_images(self._final)
        return n_present > 0 and n_present >= self.series_info.expected

    def save(self, content: bytes) -> None:
        """Write one DICOM file; skip an image of another series, or one that is already present.

        Raises
        ------
        DataError
            ``DISK-FULL``, or ``PACS-WRITE``.
        PullStopped
            When the pull was stopped.
        """
        if self.stop.is_set():
            raise PullStopped
        image = self._image_name(content)
        if not image:
            return
        with _translate_write_errors():
            self._folder.mkdir(mode=0o700, exist_ok=True)
            path = self._folder / f"{image}.dcm"
            if not path.exists():
                write_file(path, content, private=True, durable=False)  # a pull that breaks off is done again
                self.received += 1

    def _image_name(self, content: bytes) -> str:
        tags = ("SOPInstanceUID", "SeriesInstanceUID")
        header = parse_file(BytesIO(content), stop_before_pixels=True, specific_tags=tags)
        if str(header.get("SeriesInstanceUID")) != self.series_info.series:
            return ""
        return pseudonym(self._secret, "img", str(header.SOPInstanceUID), n=16)

    def commit(self) -> None:
        """Move the complete series to its place; it replaces one with fewer images."""
        self.received = self.image_count
        with _translate_write_errors():
            self._final.parent.mkdir(mode=0o700, exist_ok=True)
            if self._final.exists():
                self._final.replace(self._old)
            self._folder.replace(self._final)
        shutil.rmtree(self._old, ignore_errors=True)

    def discard(self) -> None:
        """Remove the images of an incomplete series."""
        shutil.rmtree(self._folder, ignore_errors=True)


def _count_images(folder: Path) -> int:
    try:
        return sum(name.endswith(".dcm") for name in os.listdir(folder))
    except FileNotFoundError:
        return 0


@contextmanager
def _translate_write_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if is_disk_full(error):
            what = "the disk is full; complete series are kept."
            raise DiskFullError("DISK-FULL", what, "Free some space, then pull again.") from None
        raise pacs_error("PACS-WRITE") from None
