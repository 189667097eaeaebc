"""Display of a run: rounds, sites, scores and the time that is left, drawn from its history."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from medfl.cli.console import errors
from medfl.cli.live_display import call_repeatedly, format_times, progress_head, show_live
from medfl.cli.site_table import show_sites
from medfl.study import Study
from medfl.study.arms import ARM_TITLES
from medfl.system.text import format_duration, join_names

_SILENT_SECONDS = 30.0  # after which a log says what is waited for
_MAX_NAMED_SITES = 5  # in one line of a log
_HIDDEN = "hidden"  # by the policy of the site


class RunDisplay:
    """Display of a run while it goes on.

    Parameters
    ----------
    study : Study
        What runs.
    sites : sequence of str
        Names of the hospitals.
    waiting : str
        What is shown until the first site has joined.
    """

    def __init__(self, study: Study, sites: Sequence[str], waiting: str = "preparing the images and starting workers") -> None:
        self._study = study
        self._started: datetime = datetime.now(UTC)
        self._ended: datetime | None = None
        self._phase = waiting
        self._sites: dict[str, dict[str, str]] = {site: {} for site in sites}
        self._total = sum(map(study.rounds_of, study.arms))
        self._rounds: list[dict[str, Any]] = []  # arm, seconds, and whether it counted, of each
        self._score: float | None = None
        self._hidden = ""  # what stands for the score of a study whose hospitals do not tell it
        self._busy: dict[str, str] = {}

    @property
    def phase(self) -> str:
        """What the run is doing."""
        return self._phase

    def update(self, events: Sequence[dict[str, Any]]) -> None:
        """Take what has happened since the last call."""
        for event in events:
            self._apply_event(event)
            self._apply_time(event)

    def set_busy_sites(self, since: Mapping[str, float]) -> None:
        """Set which sites have been asked and have not answered, and for how many seconds."""
        self._busy = {site: format_duration(round(seconds)) for site, seconds in since.items()}

    def __rich__(self) -> RenderableType:
        score = self._hidden or "–" if self._score is None else f"{self._score:.3f}"
        elapsed = ((self._ended or datetime.now(UTC)) - self._started).total_seconds()
        texts = (
            f"round {len(self._rounds)}/{self._total}",
            f"{self._metric} {score}",
            format_times(elapsed, self._estimate_remaining()),
        )
        head = progress_head(self._study.name, len(self._rounds), self._total, *texts)
        sites = show_sites(self._sites, self._busy, self._metric)
        return Group(head, Text(self._phase, style="dim"), sites)

    @property
    def _metric(self) -> str:
        return "Dice" if self._study.task.kind == "segmentation" else "AUROC"

    def _apply_event(self, event: dict[str, Any]) -> None:
        kind = event["event"]
        if kind == "joined":
            split, state = ("test", "external, for the test") if event.get("external") else ("train", "joined")
            self._sites.setdefault(event["site"], {}).update(patients=str(event[split]), state=state)
            self._phase = "waiting for the first round"
        elif kind == "absent":
            self._sites.setdefault(event["site"], {})["state"] = "absent: not connected"
        elif kind == "waiting":
            self._phase = f"waiting for {join_names(event['sites'])}, {format_duration(event['seconds'])} at most"
            for site in event["sites"]:
                self._sites.setdefault(site, {})["state"] = "waited for"
        elif kind == "failed":
            self._sites.setdefault(event["site"], {})["state"] = f"{event['during']}: {event['reason']}"
        elif kind == "resume":
            self._rounds = [each for each in self._rounds if each["counted"]]  # the others are done again
            changed = event.get("changed", "")
            self._phase = f"resumed; waiting for the hospitals{f' (it began with {changed})' if changed else ''}"
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
        from medfl.runs.history import is_complete_round

        arm = event["arm"]
        self._rounds.append({"arm": arm, "seconds": float(event["seconds"]), "counted": is_complete_round(event)})
        self._phase = f"training {ARM_TITLES.get(arm, arm)}"
        if event.get("score") is not None:
            self._score = event["score"]
        for name, reply in event["sites"].items():
            row = self._sites.setdefault(name, {})
            row["state"] = reply["status"] if reply["status"] == "ok" else f"{reply['status']}: {reply['reason']}"
            if reply["status"] == "ok":
                loss = reply["metrics"]["train.loss"]  # null where the policy of the site withholds it
                row["loss"] = _HIDDEN if loss is None else f"{loss:.3f}"
                if text := self._site_score(reply["metrics"]):
                    row["score"] = text
                    self._hidden = _HIDDEN if text == _HIDDEN else self._hidden

    def _site_score(self, numbers: dict[str, Any]) -> str:
        """Return what to show for the score of a site; an empty text where it scored nothing."""
        from medfl import metrics

        score = metrics.headline(self._study, numbers) if numbers.get("eval.patients") else math.nan
        if not math.isnan(score):
            return f"{score:.3f}"
        return _HIDDEN if metrics.hides_score(numbers) else ""

    def _estimate_remaining(self) -> float | None:
        by_arm: dict[str, list[float]] = {}
        for each in self._rounds:
            by_arm.setdefault(each["arm"], []).append(each["seconds"])
        later = [s for seconds in by_arm.values() for s in seconds[1:] or seconds]
        return (self._total - len(self._rounds)) * sum(later) / len(later) if later else None


class _Heartbeat:
    """Lines of a log: each event, and while nothing happens, every half minute what is waited for."""

    def __init__(self, phase: str) -> None:
        self.print(f"{phase[0].upper()}{phase[1:]} …")
        self._waiting = f"Still {phase}."

    def print(self, line: str) -> None:
        errors.print(line, soft_wrap=True)
        self._printed, self._waiting = time.monotonic(), "Still at work."

    def tick(self, busy: Mapping[str, float]) -> None:
        if time.monotonic() - self._printed >= _SILENT_SECONDS:
            sites = [f"{site} is at work for {format_duration(round(seconds))}" for site, seconds in busy.items()]
            self.print(", ".join(sites[:_MAX_NAMED_SITES]) or self._waiting)


@contextmanager
def follow_run(run: Path, display: RunDisplay, *, quiet: bool = False, new_only: bool = False) -> Iterator[None]:
    """Show what a run does while the body runs: on a terminal as a display, in a log as a line for each event.

    Parameters
    ----------
    run : Path
        The run folder; it need not exist yet.
    display : RunDisplay
        What is drawn.
    quiet : bool
        Show nothing.
    new_only : bool
        Leave out of a log what happened before.
    """
    from medfl.audit.chain import busy_sites
    from medfl.runs.history import HistoryTail

    if not errors.is_terminal and not quiet:
        from medfl.api import RunEvent

        tail, lines = HistoryTail(run, skip_past=new_only), _Heartbeat(display.phase)

        def print_new(is_last: bool) -> None:
            for event in tail.read_new():
                lines.print(str(RunEvent.from_history(event)))
            if not is_last:
                lines.tick(busy_sites(run / "audit.jsonl"))

        with call_repeatedly(print_new):
            yield
        return

    history = HistoryTail(run)

    def update(is_last: bool) -> None:
        display.update(history.read_new())
        display.set_busy_sites({} if is_last else busy_sites(run / "audit.jsonl"))

    with show_live(display, update, keep=True, quiet=quiet):
        yield
