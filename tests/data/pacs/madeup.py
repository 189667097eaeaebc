"""A PACS that speaks DIMSE, made up: it holds what a test gives it, and does rightly or wrongly what a test tells it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydicom.dataset import Dataset
from pynetdicom import AE, evt, sop_class

_ROOT = "StudyRootQueryRetrieveInformationModel"
MODELS = {name: getattr(sop_class, f"{_ROOT}{name}") for name in ("Find", "Get", "Move")}
HELD = (sop_class.CTImageStorage, sop_class.SegmentationStorage)
SYNTAXES = ["1.2.840.10008.1.2.1", "1.2.840.10008.1.2", "1.2.840.10008.1.2.5"]


class MadeUpPacs:
    """What a PACS may do, rightly and wrongly."""

    def __init__(self, datasets: list[Dataset], move_port: int) -> None:
        self.datasets, self.move_port = datasets, move_port
        self.lost: dict[str, int] = {}  # images of a series that it counts but does not send
        self.aborts = 0  # transfers that it breaks off after three images
        self.heeds_filters = True
        self.fetches: list[str] = []
        self.finds: list[Dataset] = []

    def find(self, event: evt.Event) -> Iterator[tuple[int, Dataset | None]]:
        asked = event.identifier
        self.finds.append(asked)
        key = "StudyInstanceUID" if asked.QueryRetrieveLevel == "STUDY" else "SeriesInstanceUID"
        for uid in dict.fromkeys(ds[key].value for ds in self.datasets):
            within = [ds for ds in self.datasets if ds[key].value == uid]
            if not self._fits(within, asked):
                continue
            answer = Dataset()
            for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "StudyDate", "PatientID", "AccessionNumber", "Modality"):
                setattr(answer, keyword, within[0].get(keyword, ""))
            answer.SeriesDescription = within[0].get("SeriesDescription", "")
            answer.NumberOfSeriesRelatedInstances = len(within)
            answer.QueryRetrieveLevel = asked.QueryRetrieveLevel
            yield 0xFF00, answer

    def _fits(self, within: list[Dataset], asked: Dataset) -> bool:
        if asked.QueryRetrieveLevel == "SERIES":
            return within[0].StudyInstanceUID == asked.StudyInstanceUID
        if not self.heeds_filters:
            return True
        begin, _, end = (asked.StudyDate or "0-9").partition("-")
        return (
            begin <= within[0].StudyDate <= end
            and asked.PatientID in ("", within[0].PatientID)
            and asked.AccessionNumber in ("", within[0].get("AccessionNumber", ""))
            and asked.ModalitiesInStudy in [ds.Modality for ds in within]
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


def serve(pacs: MadeUpPacs, port: int, models: tuple[str, ...] = ("Find", "Get", "Move"), **how: Any) -> AE:
    """Let it listen on the loopback address, known as PACS, for MEDFL only."""
    ae = AE("PACS")
    ae.require_called_aet = True
    ae.require_calling_aet = ["MEDFL"]
    for model in models:
        ae.add_supported_context(MODELS[model])
    for uid in HELD:
        ae.add_supported_context(uid, SYNTAXES, scu_role=True, scp_role=True)
        ae.add_requested_context(uid)
    handlers = [(evt.EVT_C_FIND, pacs.find), (evt.EVT_C_GET, pacs.get), (evt.EVT_C_MOVE, pacs.move)]
    ae.start_server(("127.0.0.1", port), block=False, evt_handlers=handlers, **how)
    return ae
