"""PACS over DIMSE: C-FIND to search, C-GET or C-MOVE to retrieve (DICOM PS3.4 annex C), with pynetdicom."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from pydicom.dataset import Dataset

from medfl.data.pacs.association import associate, make_application_entity
from medfl.data.pacs.c_store import store_objects
from medfl.data.pacs.contexts import storage_contexts
from medfl.data.pacs.credentials import tls_context
from medfl.data.pacs.outgoing import OutgoingObject, Stored
from medfl.data.pacs.pacs_errors import PullStopped, incomplete_error, pacs_error
from medfl.data.pacs.series_download import SeriesDownload
from medfl.data.pacs.series_query import SeriesInfo, SeriesQuery
from medfl.errors import DataError
from medfl.site.pacs import Pacs

if TYPE_CHECKING:
    from pynetdicom.association import Association
    from pynetdicom.events import Event

    Responses = Iterator[tuple[Dataset, Dataset | None]]

SUCCESS, SOME_FAILED, UNKNOWN_DESTINATION = 0x0000, 0xB000, 0xA801
_MESSAGE_ID = 1  # each association carries one request
_PENDING = (0xFF00, 0xFF01)
_OUT_OF_RESOURCES, _CANNOT_UNDERSTAND, _NOT_AUTHORIZED = 0xA700, 0xC000, 0x0124  # status of medfl's C-STORE responses


class Dimse:
    """Client of a PACS that speaks DIMSE. For C-MOVE, call `fetch` within `listen`.

    Parameters
    ----------
    pacs : Pacs
        PACS of kind ``dimse``.
    folder : Path
        Folder that the paths of its files are relative to.

    Raises
    ------
    DataError
        ``PACS-TLS`` when the certificates cannot be used.
    """

    def __init__(self, pacs: Pacs, folder: Path) -> None:
        self._pacs, self._folder = pacs, folder
        self._tls = tls_context(pacs, folder) if pacs.tls else None
        self._expected: dict[str, tuple[SeriesDownload, list[Exception]]] = {}  # by SeriesInstanceUID, for C-MOVE

    def find(self, query: SeriesQuery) -> Iterator[SeriesInfo]:
        """Yield the series that the PACS offers: first its studies are queried, then the series of each.

        Raises
        ------
        DataError
            ``PACS-AET``, ``PACS-REFUSED``, ``PACS-TLS`` or ``PACS-UNREACHABLE``.
        """
        from pynetdicom.presentation import build_context
        from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind as model  # type: ignore[attr-defined]

        with associate(self._pacs, self._tls, [build_context(model)]) as association:
            studies: dict[str, Dataset] = {}
            for filters in query.study_filters():
                for modality in query.study_modalities:
                    for study in _send_find(association, model, _make_study_query(filters, modality)):
                        studies[_text(study, "StudyInstanceUID")] = study
            for uid, study in studies.items():
                for series in _send_find(association, model, _make_series_query(uid)):
                    yield _to_series_info(study, series)

    @contextmanager
    def listen(self) -> Iterator[None]:
        """Receive what the PACS sends for C-MOVE, at the site's own address; do nothing for C-GET.

        Raises
        ------
        DataError
            ``PACS-LISTEN`` when medfl cannot listen at the address and port.
        """
        if not self._pacs.move:
            yield
            return
        from pynetdicom import ALL_TRANSFER_SYNTAXES, AllStoragePresentationContexts, evt

        application_entity = make_application_entity(self._pacs)
        application_entity.require_called_aet = True
        for context in AllStoragePresentationContexts:
            application_entity.add_supported_context(str(context.abstract_syntax), ALL_TRANSFER_SYNTAXES)
        address, _, port = self._pacs.move.rpartition(":")
        server_tls = tls_context(self._pacs, self._folder, server=True) if self._pacs.tls else None
        try:
            socket.create_server((address, int(port))).close()  # pynetdicom does not close a socket that it cannot bind
            server = application_entity.start_server(
                (address, int(port)),
                block=False,
                ssl_context=server_tls,
                evt_handlers=[(evt.EVT_C_STORE, self._handle_move_store)],
            )
        except (OSError, OverflowError):
            raise pacs_error("PACS-LISTEN") from None
        try:
            yield
        finally:
            if server is not None:
                server.shutdown()
            application_entity.shutdown()

    def fetch(self, download: SeriesDownload) -> None:
        """Download the images of one series.

        Raises
        ------
        DataError
            For the same reasons as in `find`, or ``PACS-INCOMPLETE``.
        PullStopped
            When the pull was return_keys to stop.
        """
        from pynetdicom.presentation import build_context
        from pynetdicom.sop_class import (  # type: ignore[attr-defined]
            StudyRootQueryRetrieveInformationModelGet as get,
        )
        from pynetdicom.sop_class import (  # type: ignore[attr-defined]
            StudyRootQueryRetrieveInformationModelMove as move,
        )

        series_info, errors = download.series_info, list[Exception]()
        identifier = _make_query("SERIES", StudyInstanceUID=series_info.study, SeriesInstanceUID=series_info.series)
        if not self._pacs.move:
            contexts = [build_context(get), *storage_contexts(series_info.modality)]
            with associate(
                self._pacs, self._tls, contexts, lambda event: _handle_get_store(event, download, errors)
            ) as association:
                _wait_for_transfer(association, association.send_c_get(identifier, get, _MESSAGE_ID), download, errors)
            return
        self._expected[series_info.series] = download, errors
        try:
            with associate(self._pacs, self._tls, [build_context(move)]) as association:
                _wait_for_transfer(
                    association, association.send_c_move(identifier, self._pacs.calling_ae_title, move), download, errors
                )
        finally:
            del self._expected[series_info.series]

    def store(self, objects: Sequence[OutgoingObject]) -> Iterator[Stored]:
        """Send objects with C-STORE, and yield the answer to each; see `medfl.data.pacs.c_store`."""
        return store_objects(self._pacs, self._tls, objects)

    def _handle_move_store(self, event: Event) -> int:
        """Take an image that the PACS sends to medfl's own address, if it was requested."""
        expected = self._expected.get(_text(event.dataset, "SeriesInstanceUID"))
        return _save_image(event, *expected) if expected else _NOT_AUTHORIZED


def _handle_get_store(event: Event, download: SeriesDownload, errors: list[Exception]) -> int:
    """Take an image that arrives by C-GET; after an error, cancel the transfer."""
    from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelGet as get  # type: ignore[attr-defined]

    first = not errors
    status = _save_image(event, download, errors)
    if errors and first:
        event.assoc.send_c_cancel(_MESSAGE_ID, query_model=get)
    return status


def _save_image(event: Event, download: SeriesDownload, errors: list[Exception]) -> int:
    if errors:
        return _OUT_OF_RESOURCES
    try:
        download.save(event.encoded_dataset())
    except (DataError, PullStopped) as error:
        errors.append(error)
        return _OUT_OF_RESOURCES
    except Exception:  # what was sent is not a DICOM object
        return _CANNOT_UNDERSTAND
    return SUCCESS


def _wait_for_transfer(
    association: Association, responses: Responses, download: SeriesDownload, errors: list[Exception]
) -> None:
    """Wait for the end of a C-GET or C-MOVE, and raise an error where it failed."""
    status = -1
    for response, _ in responses:
        status = int(response.get("Status", -1))
        if errors:
            break
        if download.stop.is_set():
            association.abort()
            raise PullStopped
    if errors:
        raise errors[0]
    expected = download.series_info.expected
    if status == -1:
        raise pacs_error("PACS-UNREACHABLE")
    if status == UNKNOWN_DESTINATION:
        raise pacs_error("PACS-AET", "it does not know the AE title that it should send to (C-MOVE)")
    if status != SUCCESS and not (0 < expected <= download.image_count):
        if status == SOME_FAILED or download.image_count:
            raise incomplete_error(download.image_count, expected, f"status 0x{status:04X}")
        raise pacs_error("PACS-REFUSED", f"status 0x{status:04X}")


def _send_find(association: Association, model: str, identifier: Dataset) -> Iterator[Dataset]:
    for status, response in association.send_c_find(identifier, model):
        code = int(status.get("Status", -1))
        if code == -1:
            raise pacs_error("PACS-UNREACHABLE")
        if code in _PENDING and response is not None:
            yield response
        elif code != SUCCESS:
            raise pacs_error("PACS-REFUSED", f"status 0x{code:04X}")


def _make_query(level: str, **values: str) -> Dataset:
    identifier = Dataset()
    identifier.QueryRetrieveLevel = level
    for keyword, value in values.items():
        setattr(identifier, keyword, value)
    return identifier


def _make_study_query(filters: dict[str, str], modality: str) -> Dataset:
    return_keys = dict.fromkeys(("StudyInstanceUID", "StudyDate", "PatientID", "AccessionNumber"), "")
    return _make_query("STUDY", **return_keys | filters, ModalitiesInStudy=modality)


def _make_series_query(study: str) -> Dataset:
    return_keys = dict.fromkeys(("SeriesInstanceUID", "Modality", "SeriesDescription", "NumberOfSeriesRelatedInstances"), "")
    return _make_query("SERIES", StudyInstanceUID=study, **return_keys)


def _text(dataset: Dataset, keyword: str) -> str:
    value = dataset.get(keyword)
    return "" if value is None else str(value).strip()


def _to_series_info(study: Dataset, series: Dataset) -> SeriesInfo:
    count = _text(series, "NumberOfSeriesRelatedInstances")
    return SeriesInfo(
        study=_text(study, "StudyInstanceUID"),
        series=_text(series, "SeriesInstanceUID"),
        modality=_text(series, "Modality").upper(),
        expected=int(count) if count.isdigit() else 0,
        date=_text(study, "StudyDate"),
        patient=_text(study, "PatientID"),
        accession=_text(study, "AccessionNumber"),
        description=_text(series, "SeriesDescription"),
    )
