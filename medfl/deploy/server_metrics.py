"""Metrics of a federation's server for Prometheus: its processes, the sites, and the newest runs. No number is of a patient."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from medfl.deploy.federation_folder import FederationFolder
from medfl.deploy.presence import SitePresence
from medfl.errors import RunError, code_in
from medfl.runs.history import Event, read_history
from medfl.runs.run_folder import STUDY_JSON, current_status

_MOST_RUNS = 20  # the newest ones
_RUN = ("study", "run")


class ServerCollector(Collector):
    """Collects the metrics of one moment.

    Parameters
    ----------
    folder : FederationFolder
        Folder of the server.
    processes : mapping of str to bool
        Whether each process of the server is up, by name.
    presence : mapping of str to SitePresence
        The sites, by name.
    """

    def __init__(self, folder: FederationFolder, processes: Mapping[str, bool], presence: Mapping[str, SitePresence]) -> None:
        self._folder, self._processes, self._presence = folder, processes, presence

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics."""
        up = GaugeMetricFamily("medfl_up", "Whether a process of the server is up.", labels=["process"])
        for name, is_up in self._processes.items():
            up.add_metric([name], float(is_up))
        yield up
        online = GaugeMetricFamily("medfl_site_online", "Whether a site is connected.", labels=["site"])
        seen = GaugeMetricFamily("medfl_site_last_seen_timestamp_seconds", "When a site was last connected.", labels=["site"])
        for name, site in self._presence.items():
            online.add_metric([name], float(site.is_online))
            if site.last_seen is not None:
                seen.add_metric([name], site.last_seen.timestamp())
        yield online
        yield seen
        yield from self._collect_runs()

    def _collect_runs(self) -> Iterator[Metric]:
        status = GaugeMetricFamily("medfl_run_status", "1 for the status of a run.", labels=[*_RUN, "status"])
        done = GaugeMetricFamily("medfl_run_rounds", "Rounds that a run has done.", labels=_RUN)
        seconds = GaugeMetricFamily("medfl_run_round_seconds", "Seconds of the newest round.", labels=_RUN)
        moved = GaugeMetricFamily("medfl_run_bytes", "Bytes of all rounds.", labels=[*_RUN, "direction"])
        refused = GaugeMetricFamily("medfl_run_refusals", "Replies that did not count, by code.", labels=[*_RUN, "code"])
        for path in sorted(self._folder.runs.glob(f"*/*/{STUDY_JSON}"), key=lambda p: p.parent.name)[-_MOST_RUNS:]:
            try:
                events = read_history(path.parent)
            except (RunError, OSError):
                continue
            names = [path.parent.parent.name, path.parent.name]
            rounds = [event for event in events if event["event"] == "round"]
            status.add_metric([*names, current_status(path.parent, events)], 1.0)
            done.add_metric(names, float(max((int(event["round"]) for event in rounds), default=0)))
            if rounds:
                seconds.add_metric(names, float(rounds[-1].get("seconds") or 0.0))
            for direction in ("up", "down"):
                moved.add_metric([*names, direction], float(sum(event.get(f"bytes-{direction}") or 0 for event in rounds)))
            for code, count in sorted(count_refusals(events).items()):
                refused.add_metric([*names, code], float(count))
        yield from (status, done, seconds, moved, refused)


def render_metrics(collector: Collector) -> bytes:
    """Return metrics in Prometheus' text format."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(collector)
    return generate_latest(registry)


def count_refusals(events: list[Event]) -> Counter[str]:
    """Return how many replies of a run did not count, by code."""
    reasons = [str(event.get("reason")) for event in events if event["event"] == "failed"]
    for event in events:
        if event["event"] == "round":
            replies = (event.get("sites") or {}).values()
            reasons += [str(reply.get("reason")) for reply in replies if reply.get("status") != "ok"]
    return Counter(code_in(reason) or "NONE" for reason in reasons)


def render_health(processes: Mapping[str, bool]) -> bytes:
    """Return which processes are up, as JSON."""
    return json.dumps({"up": all(processes.values()), "processes": dict(processes)}).encode()
