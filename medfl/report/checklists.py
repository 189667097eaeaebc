"""Reporting checklists: what a comparison fills, what it fills in part, and what is left to the authors.

The items are in ``checklists.toml``. Nothing is filled that the page or the runs do not show.
"""

from __future__ import annotations

import functools
import tomllib
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from medfl.system.templates import read_resource

FILLED, PARTLY, AUTHORS = "filled", "partly filled", "the authors’"


@dataclass(frozen=True)
class ChecklistItem:
    """One item: its number, its topic, whether it is filled, with what, and in which part of the page (empty: none)."""

    number: str
    topic: str
    status: str
    text: str
    at: str


@dataclass(frozen=True)
class Checklist:
    """One checklist with its items."""

    name: str
    title: str
    source: str
    items: tuple[ChecklistItem, ...]

    @property
    def counts(self) -> dict[str, int]:
        """Number of items by status, in the order filled, partly filled, the authors'."""
        counted = Counter(item.status for item in self.items)
        return {status: counted[status] for status in (FILLED, PARTLY, AUTHORS)}


def fill_checklists(has: Collection[str], parts: Collection[str]) -> tuple[Checklist, ...]:
    """Return the checklists as a comparison fills them.

    Parameters
    ----------
    has : collection of str
        What the comparison has, of what items need: "intervals", "several-seeds", "external", "ensemble", "fine-tuned",
        "patient-ids".
    parts : collection of str
        Parts of the page. An item whose part is not there is left to the authors.
    """
    return tuple(
        Checklist(each["name"], each["title"], each["source"], tuple(_fill(item, has, parts) for item in each["items"]))
        for each in _load()
    )


def _fill(item: Mapping[str, str], has: Collection[str], parts: Collection[str]) -> ChecklistItem:
    text = item.get("filled") or item.get("partly", "")
    status = FILLED if "filled" in item else PARTLY
    if item.get("needs", "") not in ("", *has):
        status, text = FILLED, item.get("otherwise", "")
    if not text or item["at"] not in parts:
        return ChecklistItem(item["number"], item["topic"], AUTHORS, "", "")
    return ChecklistItem(item["number"], item["topic"], status, text, item["at"])


@functools.cache
def _load() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = tomllib.loads(read_resource("medfl.report", "checklists.toml"))["checklist"]
    return found
