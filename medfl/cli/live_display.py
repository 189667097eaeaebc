"""The live display of a run: rounds, sites, scores and the time that is left, drawn from the history alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from medfl.study import Study

_ARM_TITLES = {"federated": "together", "local": "each alone"}


class LiveDisplay:
    """What a person sees while a study runs.

    Parameters
    ----------
    study : Study
        What runs.
    sites : sequence of str
        Names of the hospitals.
    waiting : str
        What is done before the first site has joined.
    """

    def __init__(self, study: Study, sites: Sequence[str], waiting: str = "preparing the images and starting workers") -> None:
        self._study = study
        self._started: datetime = datetime.now(UTC)
        self._ended: datetime | None = None
        self._phase = waiting
        self._sites: dict[str, dict[str, str]] = {site: {} for site in sites}
        self._done, self._total = 0, study.rounds * len(study.simulation.arms)
        self._seconds: dict[str, list[float]] = {}
        self._score: float | None = None
        self._busy: dict[str, str] = {}

    def update(self, events: Sequence[dict[str, Any]]) -> None:
        """Take in the whole history so far."""
        self._done, self._seconds = 0, {}
        for event in events:
            self._apply_event(event)
            self._apply_time(event)

    def set_busy_sites(self, since: Mapping[str, float]) -> None:
        """Take in which sites have been asked and have not answered, and for how many seconds."""
        self._busy = {site: _format_clock(seconds) for site, seconds in since.items()}

    def __rich__(self) -> RenderableType:
        head = Table.grid(padding=(0, 2))
        score = "–" if self._score is None else f"{self._score:.3f}"
        head.add_row(
            Text(self._study.name, style="bold"),
            ProgressBar(self._total, self._done, width=30),
            f"round {self._done}/{self._total}",
            f"{self._metric} {score}",
            f"{_format_clock(((self._ended or datetime.now(UTC)) - self._started).total_seconds())} gone, {self._time_left()} left",
        )
        table = Table("site", "patients", "last answer", "loss", self._metric, box=None, padding=(0, 2))
        for name, row in self._sites.items():
            state = f"at work for {self._busy[name]}" if name in self._busy else row.get("state", "")
            table.add_row(name, row.get("patients", ""), state, row.get("loss", ""), row.get("score", ""))
        return Group(head, Text(self._phase, style="dim"), table)

    @property
    def _metric(self) -> str:
        return "Dice" if self._study.task.kind == "segmentation" else "AUROC"

    def _apply_event(self, event: dict[str, Any]) -> None:
        kind = event["event"]
        if kind == "joined":
            self._sites.setdefault(event["site"], {}).update(patients=str(event["train"]), state="joined")
            self._phase = "waiting for the first round"
        elif kind == "absent":
            self._sites.setdefault(event["site"], {})["state"] = "absent: not connected"
        elif kind == "waiting":
            self._phase = f"waiting for {', '.join(event['sites'])}, {_format_clock(event['seconds'])} at most"
            for site in event["sites"]:
                self._sites.setdefault(site, {})["state"] = "waited for"
        elif kind == "failed":
            self._sites.setdefault(event["site"], {})["state"] = f"{event['during']}: {event['reason']}"
        elif kind == "resume":
            self._phase = "resumed; waiting for the hospitals"
        elif kind == "round":
            self._apply_round(event)
        elif kind == "test":
            self._phase = "testing the chosen models"
        elif kind == "end":
            self._phase = event["status"]

    def _apply_time(self, event: dict[str, Any]) -> None:
        if event["event"] in ("start", "resume"):
            self._started, self._ended = datetime.fromisoformat(event["time"]), None
        elif event["event"] == "end":
            self._ended = datetime.fromisoformat(event["time"])

    def _apply_round(self, event: dict[str, Any]) -> None:
        arm = event["arm"]
        self._done += 1
        self._seconds.setdefault(arm, []).append(float(event["seconds"]))
        self._phase = f"training {_ARM_TITLES.get(arm, arm)}"
        if event.get("score") is not None:
            self._score = event["score"]
        for name, told in event["sites"].items():
            row = self._sites.setdefault(name, {})
            row["state"] = told["status"] if told["status"] == "ok" else f"{told['status']}: {told['reason']}"
            if told["status"] == "ok":
                loss = told["metrics"]["train.loss"]  # null where a site does not tell it
                row["loss"] = "–" if loss is None else f"{loss:.3f}"
                if (score := self._site_score(event, name, told["metrics"])) is not None:
                    row["score"] = f"{score:.3f}"

    def _site_score(self, event: dict[str, Any], name: str, numbers: dict[str, Any]) -> float | None:
        from medfl import metrics

        if not numbers.get("eval.patients"):
            return None
        score = metrics.headline(self._study, numbers)
        return None if score != score else score

    def _time_left(self) -> str:
        rounds = [s for seconds in self._seconds.values() for s in seconds[1:] or seconds]
        if not rounds:
            return "–"
        return _format_clock((self._total - self._done) * sum(rounds) / len(rounds))


def _format_clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}"
