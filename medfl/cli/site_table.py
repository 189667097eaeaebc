"""Table of the sites of a run in the terminal: a row for each, or of many a summary and the ten to look at first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from medfl.system.text import plural

_MAX_ROWS = 30  # what a terminal shows at once
_SHOWN = 10  # sites that are shown out of more
_WELL = frozenset({"", "ok", "joined"})
_SPREAD = (("10th percentile", 0.1), ("median", 0.5), ("90th percentile", 0.9))

SiteRow = Mapping[str, str]  # "patients", "state", "loss" and "score" as texts, as far as they are known


def show_sites(sites: Mapping[str, SiteRow], busy: Mapping[str, str], metric: str) -> RenderableType:
    """Return what is known of the sites of a run.

    Parameters
    ----------
    sites : mapping of str to mapping
        What is known of each site.
    busy : mapping of str to str
        For how long sites have been at work that have not answered.
    metric : str
        Name of the score.
    """
    table = Table("site", "patients", "last answer", "loss", metric, box=None, padding=(0, 2))
    few = len(sites) <= _MAX_ROWS
    for name in sites if few else _find_notable(sites):
        row = sites[name]
        state = f"at work for {busy[name]}" if name in busy else row.get("state", "")
        table.add_row(name, row.get("patients", ""), state, row.get("loss", ""), row.get("score", ""))
    return table if few else Group(_count_states(sites, busy), _show_spread(sites, metric), table)


def _count_states(sites: Mapping[str, SiteRow], busy: Mapping[str, str]) -> Text:
    states = Counter("at work" if name in busy else row.get("state", "").partition(":")[0] for name, row in sites.items())
    counts = [f"{count} {state or 'not heard of yet'}" for state, count in states.most_common()]
    return Text(f"{plural(len(sites), 'site')}: {', '.join(counts)}")


def _show_spread(sites: Mapping[str, SiteRow], metric: str) -> Table:
    table = Table("", "loss", metric, box=None, padding=(0, 2))
    told = {key: (_to_number(row.get(key, "")) for row in sites.values()) for key in ("loss", "score")}
    known = {key: sorted(number for number in numbers if number is not None) for key, numbers in told.items()}
    for name, share in _SPREAD:
        texts = (f"{found[round(share * (len(found) - 1))]:.3f}" if found else "" for found in known.values())
        table.add_row(name, *texts)
    return table


def _find_notable(sites: Mapping[str, SiteRow]) -> list[str]:
    """Return the sites that failed or are missing, then those with the lowest scores."""
    wrong = [name for name, row in sites.items() if row.get("state", "") not in _WELL]
    scores = {name: score for name, row in sites.items() if (score := _to_number(row.get("score", ""))) is not None}
    lowest = sorted(scores.keys() - set(wrong), key=lambda name: (scores[name], name))
    return [*wrong, *lowest][:_SHOWN]


def _to_number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:  # not told, or hidden
        return None
