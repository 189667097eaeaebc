"""Flow of data through a comparison: cases found, left out and why, used, and the patients of each split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from medfl.errors import explain_code
from medfl.messages.counts import format_sum, lower_bound
from medfl.report.report_data import JoinedSite
from medfl.system.text import plural

_SPLITS = {"train": "Training", "validation": "Validation: choice of the round", "test": "Test"}
_MOST_REASONS = 5


@dataclass(frozen=True)
class FlowStep:
    """One box of the diagram: its style ("main", "out", "first" of a row, or ""), what it is, how many, and notes."""

    css: str
    title: str
    count: str
    notes: tuple[str, ...] = ()


def flow_steps(joined: Mapping[str, JoinedSite], external: frozenset[str]) -> list[FlowStep]:
    """Return the boxes in the order of the diagram; none where no hospital joined.

    Parameters
    ----------
    joined : mapping of str to JoinedSite
        What each hospital had when it joined.
    external : frozenset of str
        Hospitals that take no part in training: their test patients have a box of their own.
    """
    sites = list(joined.values())
    if not sites:
        return []
    used = [site.cases[split] for site in sites for split in _SPLITS]
    left_out = [count for site in sites for count in site.excluded.values()]
    inside = [site for site in sites if site.name not in external]
    steps = [
        FlowStep("main", f"Found at {plural(len(sites), 'hospital')}:", f"{format_sum(used + left_out)} cases"),
        FlowStep("out", "Left out:", f"{format_sum(left_out)} cases", _reasons(sites)),
        FlowStep("main", "Used:", f"{format_sum(used)} cases", (_patients(sites, tuple(_SPLITS)),)),
    ]
    steps += [_split_step(inside, split, title, "first" if split == "train" else "") for split, title in _SPLITS.items()]
    outside = [site for site in sites if site.name in external]
    if outside:
        steps.append(_split_step(outside, "test", "Test, external hospitals", ""))
    return steps


def _split_step(sites: Sequence[JoinedSite], split: str, title: str, css: str) -> FlowStep:
    cases = format_sum([site.cases[split] for site in sites])
    return FlowStep(css, f"{title}:", _patients(sites, (split,)), (f"{cases} cases",))


def _patients(sites: Sequence[JoinedSite], splits: Sequence[str]) -> str:
    return f"{format_sum([site.patients[split] for site in sites for split in splits])} patients"


def _reasons(sites: Sequence[JoinedSite]) -> tuple[str, ...]:
    counts: dict[str, list[int]] = {}
    for site in sites:
        for code, count in site.excluded.items():
            counts.setdefault(code, []).append(count)
    ranked = sorted(counts, key=lambda code: (-lower_bound(counts[code]), code))
    told = [f"{format_sum(counts[code])}: {explain_code(code)}" for code in ranked[:_MOST_REASONS]]
    rest = len(ranked) - len(told)
    return (*told, *([f"{plural(rest, 'more reason')}, in the table below"] if rest else ()))
