"""Fake PACS that speaks DIMSE, with the contents and the faults that a test gives it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydicom.dataset import Dataset
from pynetdicom import AE, evt, sop_class

_ROOT = "StudyRootQueryRetrieveInformationModel"
MODELS = {name: getattr(sop_class, f"{_ROOT}{name}") for name in ("Find", "Get", "Move")}
HELD = (sop_class.CTImageStorage, sop_class.SegmentationStorage)
SYNTAXES = ["1.2.840.10008.1.2.1", "1.2.840.10008.1.2", "1.2.840.10008.1.2.5"]


class FakePacs:
    """Handlers of C-FIND, C-GET, C-MOVE and C-STORE, with faults that a test may switch on."""

    def __init__(self, datasets: list[Dataset], move_port: int) -> None:
        self.datasets, self.move_port = datasets, move_port
        self.lost: dict[str, int] = {}  # images of a series that are counted but not sent
        self.aborts = 0  # transfers that are aborted after three images
        self.heeds_filters = True
        self.fetches: list[str] = []
        self.finds: list[Dataset] = []
        self.stored: list[Dataset] = []
        self.store_answers: list[int | None] = []  # to the next objects: a status, or None to abort; 0 when there is none left

    def find(self, event: evt.Event) -> Iterator[tuple[int, Dataset | None]]:
        identifier = event.identifier
        self.finds.append(identifier)
        key = "StudyInstanceUID" if identifier.QueryRetrieveLevel == "STUDY" else "SeriesInstanceUID"
        for uid in dict.fromkeys(ds[key].value for ds in self.datasets):
            instances = [ds for ds in self.datasets if ds[key].value == uid]
            if not self._fits(instances, identifier):
                continue
            response = Dataset()
            for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "StudyDate", "PatientID", "AccessionNumber", "Modality"):
                setattr(response, keyword, instances[0].get(keyword, ""))
            response.SeriesDescription = instances[0].get("SeriesDescription", "")
            response.NumberOfSeriesRelatedInstances = len(instances)
            response.QueryRetrieveLevel = identifier.QueryRetrieveLevel
            yield 0xFF00, response

    def _fits(self, instances: list[Dataset], identifier: Dataset) -> bool:
        if identifier.QueryRetrieveLevel == "SERIES":
            return instances[0].StudyInstanceUID == identifier.StudyInstanceUID
        if not self.heeds_filters:
            return True
        begin, _, end = (identifier.StudyDate or "0-9").partition("-")
        return (
            begin <= instances[0].StudyDate <= end
            and identifier.PatientID in ("", instances[0].PatientID)
            and identifier.AccessionNumber in ("", instances[0].get("AccessionNumber", ""))
            and identifier.ModalitiesInStudy in [ds.Modality for ds in instances]
        )

    def _send(self, event: evt.Event) -> Iterator[Any]:
        uid = event.identifier.SeriesInstanceUID
        self.fetches.append(uid)
        series = [ds for ds in self.datasets if ds.SeriesInstanceUID == uid]
        series = series[: len(series) - self.lost.get(uid, 0)]
        yield len(series)
        for number, ds in enumerate(series):
            if self.aborts and number == 3:
                self.aborts -= 1
                event.assoc.abort()
                return
            yield 0xFF00, ds
        yield 0x0000, None

    def get(self, event: evt.Event) -> Iterator[Any]:
        yield from self._send(event)

    def move(self, event: evt.Event) -> Iterator[Any]:
        yield ("127.0.0.1", self.move_port) if event.move_destination == "MEDFL" else (None, None)
        yield from self._send(event)

    def store(self, event: evt.Event) -> int:
        answer = self.store_answers.pop(0) if self.store_answers else 0
        if answer is None:
            event.assoc.abort()
            return 0xC000
        if answer == 0 or answer >> 12 == 0xB:
            self.stored.append(event.dataset)
        return answer


def serve(pacs: FakePacs, port: int, models: tuple[str, ...] = ("Find", "Get", "Move"), **options: Any) -> AE:
    """Listen on the loopback address with the AE title PACS, for the AE title MEDFL only."""
    ae = AE("PACS")
    ae.require_called_aet = True
    ae.require_calling_aet = ["MEDFL"]
    for model in models:
        ae.add_supported_context(MODELS[model])
    for uid in HELD:
        ae.add_supported_context(uid, SYNTAXES, scu_role=True, scp_role=True)
        ae.add_requested_context(uid)
    handlers = [(evt.EVT_C_FIND, pacs.find), (evt.EVT_C_GET, pacs.get), (evt.EVT_C_MOVE, pacs.move)]
    handlers.append((evt.EVT_C_STORE, pacs.store))
    ae.start_server(("127.0.0.1", port), block=False, evt_handlers=handlers, **options)
    return ae
