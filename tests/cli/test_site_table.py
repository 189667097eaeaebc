"""The sites of a run in the terminal: few are all shown, many are summed up."""

from __future__ import annotations

import io

from rich.console import Console

from medfl.cli.site_table import SiteRow, show_sites


def shown(sites: dict[str, SiteRow], busy: dict[str, str]) -> list[str]:
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(show_sites(sites, busy, "Dice"))
    return console.export_text().splitlines()


def test_of_a_thousand_sites_a_screen_shows_what_matters() -> None:
    sites: dict[str, SiteRow] = {
        f"site-{k:04d}": {"patients": "8", "state": "ok", "loss": f"{k / 1000:.3f}", "score": f"{1 - k / 1000:.3f}"}
        for k in range(1000)
    }
    sites["site-0500"] = {"patients": "8", "state": "failed: [SITE-ERROR] Something failed."}
    lines = shown(sites, {"site-0007": "3 s"})
    assert len(lines) <= 24
    assert lines[0].split(": ")[1] == "998 ok, 1 at work, 1 failed"
    spread = {line.strip().split("  ")[0]: line.split()[-1] for line in lines[1:6] if "percentile" in line or "median" in line}
    assert spread == {"10th percentile": "0.101", "median": "0.501", "90th percentile": "0.900"}
    named = [line.split()[0] for line in lines if line.strip().startswith("site-")]
    assert named == ["site-0500", *(f"site-{k:04d}" for k in range(999, 990, -1))]


def test_of_few_sites_each_has_a_row() -> None:
    lines = shown({"aachen": {"state": "ok", "score": "0.8"}, "bergen": {}}, {"bergen": "3 s"})
    assert [line.split()[0] for line in lines] == ["site", "aachen", "bergen"]
    assert "at work for 3 s" in lines[2]
