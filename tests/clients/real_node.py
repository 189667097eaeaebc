"""A node with one hospital, asked through the ClientApp as a server asks it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

from flwr.app import ArrayRecord, ConfigRecord, Context, Message, RecordDict

from medfl import client_app
from medfl.clients.initial_model import build_initial_model
from medfl.flower import compat
from medfl.messages import records
from medfl.study import read_run_config, study_from_run_config

PLAIN = {records.ROUND: 1, records.RUN: "run-1", records.EXCHANGE: "x1", records.SPLIT: "validation"}


class Node:
    """A node with one hospital, asked through the ClientApp as a server asks it."""

    def __init__(self, site_file: Path, run_config: dict[str, Any], model: ArrayRecord) -> None:
        self.site_file, self.run_config, self.model = site_file, run_config, model
        self.start: ArrayRecord | None = None  # the first model, where it comes with the question to join
        self.asked: Message | None = None  # the last message

    @classmethod
    def of_study(cls, site_file: Path, study: Path) -> Self:
        """Return the node of a site, asked by a server that conducts a study and has its first model."""
        run_config = read_run_config(study)
        return cls(site_file, run_config, build_initial_model(study_from_run_config(run_config)))

    def ask(self, kind: str, *, model: ArrayRecord | None = None, without: str = "", **config: Any) -> Message:
        values = PLAIN | {key.replace("_", "-"): value for key, value in config.items()}
        values.pop(without, None)
        compat.identify_process(7, compat.SERVER_NODE_ID)
        content = RecordDict({records.CONFIG: ConfigRecord(values)})
        if kind not in (records.JOIN, records.FINGERPRINT):
            content[records.ARRAYS] = self.model if model is None else model
        elif self.start is not None:
            content[records.START] = self.start
        message = Message(content, dst_node_id=5, message_type=kind)
        compat.assign_message_id(message)
        compat.identify_process(7, 5)
        self.asked = message
        return client_app.app(message, Context(7, 5, {"site": str(self.site_file)}, RecordDict(), dict(self.run_config)))

    def numbers(self, kind: str, **config: Any) -> dict[str, Any]:
        return dict(self.ask(kind, **config).content.metric_records[records.METRICS])

    def info(self, kind: str, **config: Any) -> dict[str, Any]:
        return dict(self.ask(kind, **config).content.config_records[records.SITE])

    def reason(self, kind: str, **config: Any) -> str:
        return str(self.ask(kind, **config).error.reason)

    def edit_site(self, old: str, new: str) -> None:
        self.site_file.write_text(self.site_file.read_text().replace(old, new, 1))
