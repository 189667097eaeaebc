"""Page of the cases, worst first: which ones failed and how, with pictures of the worst. It stays where the images are."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import quote

from medfl.report.case_sources import CaseCollection, CaseSource
from medfl.report.formatting import format_score
from medfl.report.overlays import CLASS_COLOURS, Overlay, read_overlay
from medfl.report.tables import Cell, Row, Table
from medfl.report.templates import render_page
from medfl.runs.case_table import CaseResult, StructureResult
from medfl.system.files import write_private
from medfl.system.text import NOT_AVAILABLE

CASES_PAGE = "cases.html"
_MAX_ROWS = 500  # the tables have all
_MAX_PICTURES = 48

Ranked = Sequence[tuple[CaseSource, CaseResult]]


@dataclass(frozen=True)
class PicturedCase:
    """One of the worst cases: its picture and a line on it."""

    case: str
    picture: Overlay
    line: str


def write_case_page(collection: CaseCollection, file: Path | None = None) -> Path:
    """Write ``cases.html`` beside the tables with mode 0600: it shows images of patients.

    Parameters
    ----------
    collection : CaseCollection
        The tables.
    file : Path, optional
        Another file.

    Raises
    ------
    RunError
        When it cannot be written.
    """
    page = file or collection.folder / CASES_PAGE
    return write_private(page, render_case_page(collection, page.parent).encode(), "the page of cases")


def render_case_page(collection: CaseCollection, place: Path | None = None) -> str:
    """Return the page as HTML that loads nothing from the network, with links as seen from a folder, by default its own."""
    shared, personal = collection.worst_first(), collection.worst_first(personal=True)
    table = case_table(shared[:_MAX_ROWS], place or collection.folder)
    names = _structure_names(shared)
    colours = [(name, CLASS_COLOURS[k % len(CLASS_COLOURS)]) for k, name in enumerate(names)]
    return render_page(
        "cases.html.j2",
        ("report.css",),
        collection=collection,
        counts=_count(shared),
        table=table,
        masks=any(row.address for row in table.rows),
        left_out=max(len(shared) - _MAX_ROWS, 0),
        pictures=_draw(shared, collection.dimension),
        colours=[(name, "rgb({}, {}, {})".format(*colour)) for name, colour in colours],
        personal=case_table(personal[:_MAX_ROWS]) if personal else None,
        whois=next((source.whois for source, _ in shared if source.whois), ""),
    )


def case_table(ranked: Ranked, place: Path | None = None) -> Table:
    """Return one row for each case; with several structures, of each only the Dice and what is flagged.

    Parameters
    ----------
    ranked : sequence of (CaseSource, CaseResult)
        The cases.
    place : Path, optional
        Folder of the page, from which rows lead to the whole masks that there are.
    """
    names, unit = _structure_names(ranked), ranked[0][0].table.unit if ranked else "ml"
    sited = any(source.site for source, _ in ranked)
    if not names:
        measured: tuple[str, ...] = ("Truth", "Said", "Probability of the truth")
    elif len(names) == 1:
        measured = ("Dice", f"HD95, {'mm' if unit == 'ml' else 'px'}", "Surface Dice", f"Predicted, {unit}", f"True, {unit}")
    else:
        measured = ("Mean Dice", *(f"Dice, {name}" for name in names))
    rows = [replace(_row(source, result, sited=sited), address=_find_mask(source, result, place)) for source, result in ranked]
    return Table(("Case", "Patient", *(("Hospital",) if sited else ()), *measured, "What went wrong"), tuple(rows))


def _find_mask(source: CaseSource, result: CaseResult, place: Path | None) -> str:
    """Return the address of the whole mask of a case, as seen from a folder; empty if there is none."""
    mask = source.mask_of(result) if place else None
    return quote(os.path.relpath(mask.resolve(), place.resolve())) if mask and place else ""


def _row(source: CaseSource, result: CaseResult, *, sited: bool) -> Row:
    where = (Cell(source.site, "text"),) if sited else ()
    flags = Cell("; ".join(result.flags), "text warn" if result.flags else "text")
    return Row(result.case, (Cell(result.patient, "text code"), *where, *_measured(result), flags), css="code")


def _measured(result: CaseResult) -> tuple[Cell, ...]:
    structures = tuple(result.structures.values())
    if not structures:
        return Cell(result.truth or NOT_AVAILABLE, "text"), Cell(result.predicted, "text"), _cell(result.score)
    if len(structures) > 1:
        return _cell(result.score), *(_cell(each.dice) for each in structures)
    return _one_structure(structures[0])


def _one_structure(each: StructureResult) -> tuple[Cell, ...]:
    return _cell(each.dice), _cell(each.hd95, 1), _cell(each.surface_dice), _cell(each.predicted, 1), _cell(each.true, 1)


def _cell(value: float, digits: int = 3) -> Cell:
    return Cell(format_score(value, digits), "num none" if math.isnan(value) else "num")


def _structure_names(ranked: Ranked) -> tuple[str, ...]:
    return tuple(ranked[0][1].structures) if ranked else ()


def _count(ranked: Ranked) -> dict[str, int]:
    """Return how many cases there are, how many were scored, and how many are flagged."""
    results = [result for _, result in ranked]
    scored = sum(not math.isnan(result.score) for result in results)
    return {"cases": len(results), "scored": scored, "flagged": sum(bool(result.flags) for result in results)}


def _draw(ranked: Ranked, dimension: int) -> list[PicturedCase]:
    drawn: list[PicturedCase] = []
    for source, result in ranked:
        if len(drawn) == _MAX_PICTURES:
            break
        picture = read_overlay(source.picture_of(result), dimension)
        if picture is not None:
            where = f"{source.site}, " if source.site else ""
            drawn.append(PicturedCase(result.case, picture, f"{where}{_score_line(result)}"))
    return drawn


def _score_line(result: CaseResult) -> str:
    score = format_score(result.score, 2)
    if result.structures:
        return "; ".join((f"Dice {score}", *result.flags))
    return f"{result.truth or 'truth not known'}, called {result.predicted}; {score} for the truth"
