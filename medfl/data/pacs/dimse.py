"""Asking a PACS over DIMSE: C-FIND to search, C-GET or C-MOVE to fetch (DICOM PS3.4 annex C), with pynetdicom."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from pydicom.dataset import Dataset

from medfl.data.pacs.association import associate, make_application_entity
from medfl.data.pacs.contexts import storage_contexts
from medfl.data.pacs.credentials import tls_context
from medfl.data.pacs.pacs_errors import PullStopped, incomplete_error, pacs_error
from medfl.data.pacs.series_download import SeriesDownload
from medfl.data.pacs.series_query import SeriesInfo, SeriesQuery
from medfl.errors import DataError
from medfl.site.pacs import Pacs

if TYPE_CHECKING:
    from pynetdicom.association import Association
    from pynetdicom.events import Event

    Answers = Iterator[tuple[Dataset, Dataset | None]]

SUCCESS, SOME_FAILED, UNKNOWN_DESTINATION = 0x0000, 0xB000, 0xA801
_MESSAGE_ID = 1  # number of the one question of an association
_PENDING = (0xFF00, 0xFF01)
_OUT_OF_RESOURCES, _CANNOT_UNDERSTAND, _NOT_AUTHORIZED = 0xA700, 0xC000, 0x0124  # what medfl answers to a C-STORE


class Dimse:
    """A PACS that speaks DIMSE. For C-MOVE, `listening` must be entered around `fetch`.

    Parameters
    ----------
    pacs : Pacs
        Of kind ``dimse``.
    folder : Path
        What its files are relative to.

    Raises
    ------
    DataError
        ``PACS-TLS`` when the certificates cannot be used.
    """

    def __init__(self, pacs: Pacs, folder: Path) -> None:
        self._pacs, self._folder = pacs, folder
        self._tls = tls_context(pacs, folder) if pacs.tls else None
        self._expected: dict[str, tuple[SeriesDownload, list[Exception]]] = {}  # by SeriesInstanceUID, for C-MOVE

    def find(self, wanted: SeriesQuery) -> Iterator[SeriesInfo]:
        """Yield the series that the PACS offers: first its studies are asked for, then the series of each.

        Raises
        ------
        DataError
            ``PACS-AET``, ``PACS-REFUSED``, ``PACS-TLS`` or ``PACS-UNREACHABLE``.
        """
        from pynetdicom.presentation import build_context
        from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind as model  # type: ignore[attr-defined]

        with associate(self._pacs, self._tls, [build_context(model)]) as association:
            studies: dict[str, Dataset] = {}
            for asked in wanted.study_filters():
                for modality in wanted.study_modalities:
                    for study in _send_find(association, model, _make_study_query(asked, modality)):
                        studies[_text(study, "StudyInstanceUID")] = study
            for uid, study in studies.items():
                for series in _send_find(association, model, _make_series_query(uid)):
                    yield _to_series_info(study, series)

    @contextmanager
    def listen(self) -> Iterator[None]:
        """Take in what the PACS sends for C-MOVE, at the site's own address; nothing is done for C-GET.

        Raises
        ------
        DataError
            ``PACS-LISTEN`` when the address or port cannot be had.
        """
        if not self._pacs.move:
            yield
            return
        from pynetdicom import ALL_TRANSFER_SYNTAXES, AllStoragePresentationContexts, evt

        own = make_application_entity(self._pacs)
        own.require_called_aet = True
        for context in AllStoragePresentationContexts:
            own.add_supported_context(str(context.abstract_syntax), ALL_TRANSFER_SYNTAXES)
        address, _, port = self._pacs.move.rpartition(":")
        secured = tls_context(self._pacs, self._folder, server=True) if self._pacs.tls else None
        try:
            socket.create_server((address, int(port))).close()  # pynetdicom leaves its socket open when it cannot bind it
            server = own.start_server(
                (address, int(port)),
                block=False,
                ssl_context=secured,
                evt_handlers=[(evt.EVT_C_STORE, self._handle_move_store)],
            )
        except (OSError, OverflowError):
            raise pacs_error("PACS-LISTEN") from None
        try:
            yield
        finally:
            if server is not None:
                server.shutdown()
            own.shutdown()

    def fetch(self, landing: SeriesDownload) -> None:
        """Bring the images of one series.

        Raises
        ------
        DataError
            As `find`, or ``PACS-INCOMPLETE``.
        PullStopped
            When the pull was told to stop.
        """
        from pynetdicom.presentation import build_context
        from pynetdicom.sop_class import (  # type: ignore[attr-defined]
            StudyRootQueryRetrieveInformationModelGet as get,
        )
        from pynetdicom.sop_class import (  # type: ignore[attr-defined]
            StudyRootQueryRetrieveInformationModelMove as move,
        )

        found, troubles = landing.series_info, list[Exception]()
        question = _make_query("SERIES", StudyInstanceUID=found.study, SeriesInstanceUID=found.series)
        if not self._pacs.move:
            contexts = [build_context(get), *storage_contexts(found.modality)]
            with associate(
                self._pacs, self._tls, contexts, lambda event: _handle_get_store(event, landing, troubles)
            ) as association:
                _wait_for_transfer(association, association.send_c_get(question, get, _MESSAGE_ID), landing, troubles)
            return
        self._expected[found.series] = landing, troubles
        try:
            with associate(self._pacs, self._tls, [build_context(move)]) as association:
                _wait_for_transfer(
                    association, association.send_c_move(question, self._pacs.calling_ae_title, move), landing, troubles
                )
        finally:
            del self._expected[found.series]

    def _handle_move_store(self, event: Event) -> int:
        """Take an image that the PACS sends to the own address, if it was asked for."""
        expected = self._expected.get(_text(event.dataset, "SeriesInstanceUID"))
        return _save_image(event, *expected) if expected else _NOT_AUTHORIZED


def _handle_get_store(event: Event, landing: SeriesDownload, troubles: list[Exception]) -> int:
    """Take an image that comes by C-GET; after trouble let the PACS send no more of them."""
    from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelGet as get  # type: ignore[attr-defined]

    first = not troubles
    status = _save_image(event, landing, troubles)
    if troubles and first:
        event.assoc.send_c_cancel(_MESSAGE_ID, query_model=get)
    return status


def _save_image(event: Event, landing: SeriesDownload, troubles: list[Exception]) -> int:
    if troubles:
        return _OUT_OF_RESOURCES
    try:
        landing.save(event.encoded_dataset())
    except (DataError, PullStopped) as error:
        troubles.append(error)
        return _OUT_OF_RESOURCES
    except Exception:  # what was sent is no DICOM object
        return _CANNOT_UNDERSTAND
    return SUCCESS


def _wait_for_transfer(association: Association, answers: Answers, landing: SeriesDownload, troubles: list[Exception]) -> None:
    """Wait for the end of a C-GET or C-MOVE, and judge it."""
    status = -1
    for answer, _ in answers:
        status = int(answer.get("Status", -1))
        if troubles:
            break
        if landing.stop.is_set():
            association.abort()
            raise PullStopped
    if troubles:
        raise troubles[0]
    expected = landing.series_info.expected
    if status == -1:
        raise pacs_error("PACS-UNREACHABLE")
    if status == UNKNOWN_DESTINATION:
        raise pacs_error("PACS-AET", "it does not know the AE title that it should send to (C-MOVE)")
    if status != SUCCESS and not (0 < expected <= landing.image_count):
        if status == SOME_FAILED or landing.image_count:
            raise incomplete_error(landing.image_count, expected, f"status 0x{status:04X}")
        raise pacs_error("PACS-REFUSED", f"status 0x{status:04X}")


def _send_find(association: Association, model: str, question: Dataset) -> Iterator[Dataset]:
    for status, answer in association.send_c_find(question, model):
        code = int(status.get("Status", -1))
        if code == -1:
            raise pacs_error("PACS-UNREACHABLE")
        if code in _PENDING and answer is not None:
            yield answer
        elif code != SUCCESS:
            raise pacs_error("PACS-REFUSED", f"status 0x{code:04X}")


def _make_query(level: str, **values: str) -> Dataset:
    question = Dataset()
    question.QueryRetrieveLevel = level
    for keyword, value in values.items():
        setattr(question, keyword, value)
    return question


def _make_study_query(asked: dict[str, str], modality: str) -> Dataset:
    told = dict.fromkeys(("StudyInstanceUID", "StudyDate", "PatientID", "AccessionNumber"), "")
    return _make_query("STUDY", **told | asked, ModalitiesInStudy=modality)


def _make_series_query(study: str) -> Dataset:
    told = dict.fromkeys(("SeriesInstanceUID", "Modality", "SeriesDescription", "NumberOfSeriesRelatedInstances"), "")
    return _make_query("SERIES", StudyInstanceUID=study, **told)


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
