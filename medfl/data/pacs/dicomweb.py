"""Asking a PACS over HTTP: QIDO-RS to search, WADO-RS to fetch (DICOM PS3.18), with dicomweb-client."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydicom.dataset import Dataset
from pydicom.pixels.utils import get_expected_length

from medfl.data.pacs.credentials import certificates, read_login
from medfl.data.pacs.pacs_errors import PullStopped, incomplete_error, pacs_error
from medfl.data.pacs.series_download import SeriesDownload
from medfl.data.pacs.series_query import SeriesInfo, SeriesQuery
from medfl.errors import DataError
from medfl.site.pacs import Pacs

if TYPE_CHECKING:
    import requests
    from dicomweb_client.web import DICOMwebClient

PAGE_SIZE = 500  # series a question; a PACS may give fewer
_AS_STORED = (("application/dicom", "*"),)  # as it lies in the PACS, compressed or not: nothing is converted on the way
_NOT_ACCEPTABLE = 406
_FIELD_TAGS = {
    "study": "0020000D",
    "series": "0020000E",
    "modality": "00080060",
    "date": "00080020",
    "patient": "00100020",
    "accession": "00080050",
    "description": "0008103E",
    "expected": "00201209",
}


class DicomWeb:
    """A PACS that speaks DICOMweb.

    Parameters
    ----------
    pacs : Pacs
        Of kind ``dicomweb``.
    folder : Path
        What its files are relative to.

    Raises
    ------
    DataError
        ``PACS-CREDENTIALS``, or ``PACS-TLS`` when a file of certificates is missing.
    """

    def __init__(self, pacs: Pacs, folder: Path) -> None:
        self._pacs = pacs
        self._login = read_login(pacs, folder)
        self._authority, self._certificate = certificates(pacs, folder)

    @contextmanager
    def _client(self) -> Iterator[DICOMwebClient]:
        import requests
        from dicomweb_client.web import DICOMwebClient

        with requests.Session() as session:
            session.trust_env = False  # patients' images go through no proxy that some environment variable names
            session.auth = self._login
            session.verify = self._authority or True
            session.cert = self._certificate
            client = DICOMwebClient(self._pacs.url, session, permissive_uid=True, timeout=self._pacs.timeout)
            client.set_http_retry_params(retry=False)  # the pull repeats, and can be stopped between two attempts
            with _translate_errors():
                yield client

    def find(self, wanted: SeriesQuery) -> Iterator[SeriesInfo]:
        """Yield the series that the PACS offers.

        Raises
        ------
        DataError
            ``PACS-AUTH``, ``PACS-REFUSED``, ``PACS-TLS`` or ``PACS-UNREACHABLE``.
        """
        with self._client() as client:
            for asked in wanted.study_filters():
                for modality in wanted.modalities:
                    yield from _search_series(client, {**asked, "Modality": modality})

    def listen(self) -> AbstractContextManager[None]:
        """Do nothing: over HTTP nothing comes that was not asked for."""
        return nullcontext()

    def fetch(self, landing: SeriesDownload) -> None:
        """Bring the images of one series.

        Raises
        ------
        DataError
            As `find`, or ``PACS-INCOMPLETE`` when an image was cut off.
        """
        import requests

        with self._client() as client:
            try:
                self._save_images(client, landing, _AS_STORED)
            except requests.exceptions.HTTPError as error:
                if _http_status(error) != _NOT_ACCEPTABLE:
                    raise
                self._save_images(client, landing, None)  # a PACS that only sends what the standard has as default

    @staticmethod
    def _save_images(client: DICOMwebClient, landing: SeriesDownload, media_types: Any) -> None:
        found = landing.series_info
        for dataset in client.iter_series(found.study, found.series, media_types=media_types):
            if _is_truncated(dataset):
                raise incomplete_error(landing.image_count, found.expected, "an image was cut off")
            buffer = BytesIO()
            dataset.save_as(buffer, enforce_file_format=True)
            landing.save(buffer.getvalue())


def _search_series(client: DICOMwebClient, asked: dict[str, str]) -> Iterator[SeriesInfo]:
    """Yield all pages; ends with one that brings nothing new, so that a PACS without paging is not asked for ever."""
    seen: set[str] = set()
    offset = 0
    while True:
        page = client.search_for_series(search_filters=asked, fields=list(_FIELD_TAGS.values()), limit=PAGE_SIZE, offset=offset)
        fresh = [found for found in map(_to_series_info, page) if found.series not in seen]
        if not fresh:
            return
        yield from fresh
        seen |= {found.series for found in fresh}
        offset += len(page)


def _to_series_info(row: dict[str, Any]) -> SeriesInfo:
    texts = {name: str((row.get(tag, {}).get("Value") or [""])[0] or "").strip() for name, tag in _FIELD_TAGS.items()}
    expected = texts.pop("expected")
    texts["modality"] = texts["modality"].upper()
    return SeriesInfo(expected=int(expected) if expected.isdigit() else 0, **texts)


def _is_truncated(dataset: Dataset) -> bool:
    """Return whether uncompressed pixels are fewer than the header says: a connection may end without anybody telling."""
    if "PixelData" not in dataset:
        return False
    if dataset.file_meta.TransferSyntaxUID.is_compressed:
        return not dataset.PixelData
    return len(dataset.PixelData) < get_expected_length(dataset)


def _http_status(error: requests.exceptions.HTTPError) -> int:
    return 0 if error.response is None else error.response.status_code


@contextmanager
def _translate_errors() -> Iterator[None]:
    """Turn the errors of the libraries, which hold host, URL and UIDs, into medfl's."""
    import requests

    broken = (requests.exceptions.ChunkedEncodingError, requests.exceptions.ContentDecodingError)
    try:
        yield
    except (DataError, PullStopped):
        raise
    except requests.exceptions.SSLError:
        raise pacs_error("PACS-TLS", "no secure connection to the PACS came about") from None
    except requests.exceptions.HTTPError as error:
        status = _http_status(error)
        raise pacs_error("PACS-AUTH" if status in (401, 403) else "PACS-REFUSED", f"HTTP status {status}") from None
    except (requests.exceptions.ConnectionError, requests.exceptions.Timeout, *broken):
        raise pacs_error("PACS-UNREACHABLE") from None
    except Exception:  # a page of a portal instead of JSON, a part that is no DICOM: libraries raise nearly anything
        raise pacs_error("PACS-REFUSED", "its answer is no DICOMweb") from None
