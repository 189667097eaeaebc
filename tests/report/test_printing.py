"""Pages on paper: nothing is wider than a sheet of A4 or Letter, and no table is cut. Needs Chromium, else it is skipped."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medfl.report import write_report
from medfl.report.case_page import write_case_page
from medfl.report.case_sources import open_cases
from medfl.runs.case_table import CaseResult, CaseTable, StructureResult, write_case_table

Make = Callable[..., Any]
Whole = Callable[[Any], Path]

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
PAPER = {"A4": 210.0, "Letter": 215.9}  # mm
MARGINS = 24.0  # mm, of both sides
PIXELS = 96 / 25.4  # in a millimetre
LONG = "Universitaetsklinikum-" + "x" * 42  # the longest name that a site can have

# names every visible element that reaches beyond the sheet, or whose content is cut
MEASURE = """<script>
addEventListener("load", () => {
  const width = document.documentElement.clientWidth, found = [];
  for (const element of document.querySelectorAll("body *")) {
    const box = element.getBoundingClientRect();
    if (!box.width || getComputedStyle(element).visibility === "hidden") continue;
    const cut = element.scrollWidth > element.clientWidth + 1 && element.clientWidth && !element.closest("svg");
    if (box.right > width + 1 || box.left < -1 || cut)
      found.push(`${element.tagName}.${element.className} ${Math.round(box.right)} ${element.textContent.slice(0, 40)}`);
  }
  const seen = [...document.querySelectorAll("td")].filter(cell => cell.getBoundingClientRect().width).length;
  document.body.replaceChildren(JSON.stringify({width, seen, found}));
});
</script>"""

pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")]


def measure(page: Path, paper: str, folder: Path) -> dict[str, Any]:
    """Return what a browser finds too wide in a page, laid out as on paper."""
    text = page.read_text(encoding="utf-8")
    assert text.count("@media print") >= 1
    as_printed = folder / f"{paper}.html"
    text = text.replace("@media print", "@media all").replace("</head>", f"{MEASURE}</head>")
    as_printed.write_text(text, encoding="utf-8")
    width = round((PAPER[paper] - MARGINS) * PIXELS)
    command = [str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
    command += [f"--user-data-dir={folder}/profile", f"--window-size={width},1000", "--dump-dom", as_printed.as_uri()]
    done = subprocess.run(command, capture_output=True, timeout=120, check=True)
    body = re.search(r"<body[^>]*>(.*)</body>", done.stdout.decode(), re.DOTALL)
    assert body, done.stderr.decode()
    measured: dict[str, Any] = json.loads(html.unescape(body[1]))
    assert abs(measured["width"] - width) <= 1  # the window is as wide as the sheet
    assert measured["seen"] > 20
    return measured


def many_sites(count: int) -> dict[str, tuple[int, int, int]]:
    return {LONG: (40, 6, 11)} | {f"hospital-{k:03d}": (12 + k, 3, 5) for k in range(1, count)}


@pytest.mark.parametrize("paper", PAPER)
@pytest.mark.parametrize(
    ("kind", "classes", "sites"),
    [
        ("segmentation", "background,tumour", 3),
        ("segmentation", "background," + ",".join(f"structure-number-{k}" for k in range(14)), 3),
        ("segmentation", "background,oedema,core", 24),
        ("classification", "normal,pneumonia", 24),
        ("classification", "normal,pneumonia,nodule,effusion,cardiomegaly", 9),
    ],
)
def test_no_element_of_a_report_is_wider_than_the_sheet(
    make: Make, whole_run: Whole, tmp_path: Path, kind: str, classes: str, sites: int, paper: str
) -> None:
    run = whole_run(make(kind, classes, sites=many_sites(sites), rounds=3))
    assert measure(write_report(run), paper, tmp_path)["found"] == []


@pytest.mark.parametrize("paper", PAPER)
def test_no_element_of_the_page_of_cases_is_wider_than_the_sheet(make: Make, tmp_path: Path, paper: str) -> None:
    names = [f"structure-number-{k}" for k in range(12)]
    maker = make("segmentation", f"background,{','.join(names)}")
    draw = np.random.default_rng(0)
    results = [
        CaseResult(f"case-{k:010d}", f"pat-{k:016d}", {n: StructureResult(draw.random(), 3, 0.9, 0, 2) for n in names})
        for k in range(5)
    ]
    folder = maker.run.site_folder(LONG)
    folder.mkdir(parents=True)
    write_case_table(folder / "cases.csv", CaseTable(tuple(results)))
    assert measure(write_case_page(open_cases(maker.end())), paper, tmp_path)["found"] == []
