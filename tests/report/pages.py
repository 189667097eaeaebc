"""The page of a report as a reader meets it: its text, its tags, and the addresses that it loads."""

from __future__ import annotations

import re
import stat
from html.parser import HTMLParser
from pathlib import Path

from medfl.report import write_report


class Reader(HTMLParser):
    """Collects every address, the visible text, and tags that are left open."""

    VOID = frozenset({"meta", "img", "br", "link", "input"})

    def __init__(self, page: str) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.tags: list[str] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [
            value or "" for name, value in attrs if name in ("src", "href", "srcset", "action", "data", "xlink:href")
        ]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> closes another tag"

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.words.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.words))


def page_of(run: Path) -> tuple[str, Reader]:
    file = write_report(run)
    assert file == run / "report.html"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600  # it shows images of patients
    page = file.read_text(encoding="utf-8")
    reader = Reader(page)
    assert reader.open == []
    return page, reader
