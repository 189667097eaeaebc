"""PACS over HTTP: QIDO-RS to search, WADO-RS to retrieve (DICOM PS3.18), with dicomweb-client."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.pixels.utils import get_expected_length

from medfl.data.pacs.credentials import certificates, read_login
from medfl.data.pacs.outgoing import OutgoingObject, Stored
from medfl.data.pacs.pacs_errors import PullStopped, incomplete_error, pacs_error
from medfl.data.pacs.series_download import SeriesDownload
from medfl.data.pacs.series_query import SeriesInfo, SeriesQuery
from medfl.errors import DataError
from medfl.site.pacs import Pacs

if TYPE_CHECKING:
    import requests
    from dicomweb_client.web import DICOMwebClient

PAGE_SIZE = 500  # series per request; a PACS may return fewer
_AS_STORED = (("application/dicom", "*"),)  # as stored in the PACS, compressed or not: nothing is transcoded on the way
_NOT_ACCEPTABLE = 406
_OBJECT_REFUSED = (400, 409, 413, 415)  # statuses that are about what was sent, and not about who sends
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
    """Client of a PACS that speaks DICOMweb.

    Parameters
    ----------
    pacs : Pacs
        PACS of kind ``dicomweb``.
    folder : Path
        Folder that the paths of its files are relative to.

    Raises
    ------
    DataError
        ``PACS-CREDENTIALS``, or ``PACS-TLS`` when a certificate file is missing.
    """

    def __init__(self, pacs: Pacs, folder: Path) -> None:
        self._pacs = pacs
        self._login = read_login(pacs, folder)
        self._ca_file, self._certificate = certificates(pacs, folder)

    @contextmanager
    def _client(self) -> Iterator[DICOMwebClient]:
        import requests
        from dicomweb_client.web import DICOMwebClient

        with requests.Session() as session:
            session.trust_env = False  # patients' images must not pass through a proxy named by some environment variable
            session.auth = self._login
            session.verify = self._ca_file or True
            session.cert = self._certificate
            session.headers["Accept"] = "application/dicom+json"
            session.hooks["response"].append(_drop_charset)
            client = DICOMwebClient(self._pacs.url, session, permissive_uid=True, timeout=self._pacs.timeout)
            client.set_http_retry_params(retry=False)  # the pull retries, and can be stopped between two attempts
            with _translate_errors():
                yield client

    def find(self, query: SeriesQuery) -> Iterator[SeriesInfo]:
        """Yield the series that the PACS offers.

        Raises
        ------
        DataError
            ``PACS-AUTH``, ``PACS-REFUSED``, ``PACS-TLS`` or ``PACS-UNREACHABLE``.
        """
        with self._client() as client:
            for study_filter in query.study_filters():
                for modality in query.modalities:
                    yield from _search_series(client, {**study_filter, "Modality": modality})

    def listen(self) -> AbstractContextManager[None]:
        """Do nothing: over HTTP the PACS sends nothing by itself."""
        return nullcontext()

    def fetch(self, download: SeriesDownload) -> None:
        """Download the images of one series.

        Raises
        ------
        DataError
            For the same reasons as in `find`, or ``PACS-INCOMPLETE`` when an image is truncated.
        """
        import requests

        with self._client() as client:
            try:
                self._save_images(client, download, _AS_STORED)
            except requests.exceptions.HTTPError as error:
                if _http_status(error) != _NOT_ACCEPTABLE:
                    raise
                self._save_images(client, download, None)  # a PACS that only sends the default of the standard

    def store(self, objects: Sequence[OutgoingObject]) -> Iterator[Stored]:
        """Send objects with STOW-RS, each in a request of its own, and yield the answer to each.

        Raises
        ------
        DataError
            For the same reasons as in `find`.
        """
        import requests

        with self._client() as client:
            for each in objects:
                try:
                    response = client.store_instances([dcmread(each.path)])
                except requests.exceptions.HTTPError as error:
                    status = _http_status(error)
                    if status not in _OBJECT_REFUSED:
                        raise
                    yield Stored(each.path, pacs_error("PACS-NOT-STORED", f"HTTP status {status}"))
                    continue
                yield _read_stored(each, response)

    @staticmethod
    def _save_images(client: DICOMwebClient, download: SeriesDownload, media_types: Any) -> None:
        series_info = download.series_info
        for dataset in client.iter_series(series_info.study, series_info.series, media_types=media_types):
            if _is_truncated(dataset):
                raise incomplete_error(download.image_count, series_info.expected, "an image was truncated")
            buffer = BytesIO()
            dataset.save_as(buffer, enforce_file_format=True)
            download.save(buffer.getvalue())


def _drop_charset(response: requests.Response, **_: Any) -> None:
    """Leave the bare media type in a header: dicomweb-client does not know one with a charset."""
    media_type = response.headers.get("Content-Type", "").partition(";")[0].strip()
    if media_type.endswith(("json", "xml")):
        response.headers["Content-Type"] = media_type


def _read_stored(each: OutgoingObject, response: Dataset) -> Stored:
    """Return what the answer says of an object (PS3.18 table I.1-1); a portal's page, which says nothing, stored nothing."""
    failed, stored = ((response.get(name) or []) for name in ("FailedSOPSequence", "ReferencedSOPSequence"))
    for item in failed:
        return Stored(each.path, pacs_error("PACS-NOT-STORED", f"reason 0x{int(item.get('FailureReason') or 0):04X}"))
    for item in stored:
        if str(item.get("ReferencedSOPInstanceUID", "")) == each.instance:
            return Stored(each.path, is_changed=bool(item.get("WarningReason")))
    return Stored(each.path, pacs_error("PACS-NOT-STORED", "its answer does not say that it did"))


def _search_series(client: DICOMwebClient, filters: dict[str, str]) -> Iterator[SeriesInfo]:
    """Yield the series of all pages; stop at a page with nothing new, since a PACS without paging repeats itself."""
    seen: set[str] = set()
    offset = 0
    while True:
        page = client.search_for_series(
            search_filters=filters, fields=list(_FIELD_TAGS.values()), limit=PAGE_SIZE, offset=offset
        )
        new = [series_info for series_info in map(_to_series_info, page) if series_info.series not in seen]
        if not new:
            return
        yield from new
        seen |= {series_info.series for series_info in new}
        offset += len(page)


def _to_series_info(row: dict[str, Any]) -> SeriesInfo:
    texts = {name: str((row.get(tag, {}).get("Value") or [""])[0] or "").strip() for name, tag in _FIELD_TAGS.items()}
    expected = texts.pop("expected")
    texts["modality"] = texts["modality"].upper()
    return SeriesInfo(expected=int(expected) if expected.isdigit() else 0, **texts)


def _is_truncated(dataset: Dataset) -> bool:
    """Return whether there are fewer pixels than the header says: a connection may end without an error."""
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
        raise pacs_error("PACS-TLS", "no secure connection to the PACS could be made") from None
    except requests.exceptions.HTTPError as error:
        status = _http_status(error)
        raise pacs_error("PACS-AUTH" if status in (401, 403) else "PACS-REFUSED", f"HTTP status {status}") from None
    except (requests.exceptions.ConnectionError, requests.exceptions.Timeout, *broken):
        raise pacs_error("PACS-UNREACHABLE") from None
    except Exception:  # a portal's page instead of JSON, a part that is not DICOM: libraries raise nearly anything
        raise pacs_error("PACS-REFUSED", "its response is not DICOMweb") from None
