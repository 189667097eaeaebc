"""The page of a comparison in a browser: wide, narrow and on paper nothing is cut or overlaps, and nothing is loaded.

Needs Chromium, else it is skipped.
"""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from medfl.report.comparison_page import write_comparison_page
from tests.report.comparisons import make_comparison

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
LONG = "Universitaetsklinikum-" + "x" * 42  # the longest name that a site can have
SITES = {LONG: (38, 6, 11), "north-general": (71, 10, 21), "st-anna": (19, 3, 6)}
WIDTHS = {"wide": 1280, "narrow": 480, "paper": 703}  # pixels; A4 without its margins

# sends what reaches beyond the page, is cut, or lies on another label of its drawing, and what was asked of the network
MEASURE = """<script>
const denied = [];
addEventListener("securitypolicyviolation", event => denied.push(event.blockedURI));
addEventListener("load", () => {
  for (const details of document.querySelectorAll("details")) details.open = true;
  const width = document.documentElement.clientWidth, found = [], paper = NAME === "paper";
  const tell = (what, element) =>
    found.push(`${what} ${element.tagName}.${element.className} ${element.textContent.slice(0, 40)}`);
  for (const element of document.querySelectorAll("body *")) {
    const box = element.getBoundingClientRect();
    if (!box.width || element.closest(".unseen, .skip, svg *") || (!paper && element.closest(".scroll *, pre *"))) continue;
    if (box.right > width + 1 || box.left < -1) tell("beyond", element);
    const scrolls = !paper && element.matches(".scroll, pre");
    if (element.scrollWidth > element.clientWidth + 1 && element.clientWidth && !scrolls) tell("cut", element);
  }
  for (const drawing of document.querySelectorAll("svg[role=img]")) {
    const frame = drawing.getBoundingClientRect();
    const labels = [...drawing.querySelectorAll("text")].map(label => [label, label.getBoundingClientRect()]);
    labels.forEach(([label, box], k) => {
      if (box.left < frame.left - 3 || box.right > frame.right + 1 || box.bottom > frame.bottom + 2) tell("outside", label);
      for (const [, other] of labels.slice(k + 1))
        if (Math.min(box.right, other.right) - Math.max(box.left, other.left) > 2 &&
            Math.min(box.bottom, other.bottom) - Math.max(box.top, other.top) > 4) tell("overlap", label);
    });
  }
  const asked = [...performance.getEntriesByType("resource").map(entry => entry.name), ...denied];
  const rows = [...document.querySelectorAll("tr")].filter(row => row.getBoundingClientRect().height).length;
  parent.postMessage({name: NAME, width, rows, found, asked}, "*");
});
</script>"""
HARNESS = """<!DOCTYPE html><body><script>
const told = [];
addEventListener("message", event => {
  told.push(event.data);
  if (told.length === document.querySelectorAll("iframe").length) document.body.replaceChildren(JSON.stringify(told));
});
</script>FRAMES</body>"""

pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")]


def as_measured(page: Path, name: str, folder: Path) -> str:
    """Write the page with what measures it, and return the frame that shows it at the width of this name."""
    text = page.read_text(encoding="utf-8")
    if name == "paper":
        text = text.replace("@media print", "@media all")
    policy = "<meta http-equiv=Content-Security-Policy content=\"default-src 'none'; style-src 'unsafe-inline'; "
    head = f"<head>{policy}script-src 'unsafe-inline'\">{MEASURE.replace('NAME', json.dumps(name))}"
    file = folder / f"{page.parent.name}-{name}.html"
    file.write_text(text.replace("<head>", head, 1), encoding="utf-8")
    return f'<iframe src="{file.as_uri()}" style="border:0" width="{WIDTHS[name]}" height="900"></iframe>'


def test_nothing_is_cut_or_overlaps_or_is_loaded(tmp_path: Path) -> None:
    frames = []
    for kind in ("segmentation", "classification"):
        page = write_comparison_page(make_comparison(tmp_path / kind, kind, SITES, seeds=[1]))
        frames += [as_measured(page, name, tmp_path) for name in WIDTHS]
    harness = tmp_path / "harness.html"
    harness.write_text(HARNESS.replace("FRAMES", "".join(frames)))
    command = [str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--window-size=1300,900"]
    command += [f"--user-data-dir={tmp_path}/profile", "--virtual-time-budget=20000", "--dump-dom", harness.as_uri()]
    done = subprocess.run(command, capture_output=True, timeout=120, check=True)
    body = re.search(r"<body[^>]*>(.*)</body>", done.stdout.decode(), re.DOTALL)
    assert body, done.stderr.decode()
    measured: list[dict[str, Any]] = json.loads(html.unescape(body[1]))
    assert sorted((each["name"], each["width"]) for each in measured) == sorted(2 * list(WIDTHS.items()))
    assert min(each["rows"] for each in measured) > 120  # both checklists and all tables are there
    assert [(each["name"], fault) for each in measured for fault in each["found"] + each["asked"]] == []
