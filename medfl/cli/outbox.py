"""Command `medfl site outbox`: what left this hospital, in a form that a person can read, and what waits to be let go."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Column, Table
from rich.text import Text

from medfl.cli.approve import SiteOption
from medfl.cli.console import output, print_json
from medfl.cli.options import JsonOption, YesOption, confirm
from medfl.errors import DeployError
from medfl.system.text import format_bytes, format_count, join_words, plural

if TYPE_CHECKING:
    from medfl.privacy.ledger import Ledger
    from medfl.privacy.ledger_records import HeldAnswer
    from medfl.privacy.outbox import OutboxEntry

_MAX_BINS = 12  # of a list that are shown in a line
_MAX_RUN_WIDTH = 26
_HASH_WIDTH = 8  # letters of a study's hash that are shown
_COUNTS = ("answers", "codes", "alarms", "models")
_STATES = {"left": "left", "waits": "waits", "refused": "only a code left:", "alarm": "an alarm:"}


def outbox(
    run: Annotated[str, typer.Argument(metavar="[RUN]", help="Name of a run: show every number of it.")] = "",
    study: Annotated[
        str, typer.Option("--study", help="Name of a study, or the beginning of its hash; all unless given.")
    ] = "",
    site: SiteOption = Path(),
    release: Annotated[list[int] | None, typer.Option("--release", metavar="N", help="Let answer N go.")] = None,
    release_all: Annotated[bool, typer.Option("--release-all", help="Let all answers go that wait, or those of RUN.")] = False,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Show what left this site and what waits; let go what your policy holds back (release = "by-hand")."""
    from medfl.privacy.ledger import Ledger, ledger_folder
    from medfl.privacy.outbox import list_outgoing
    from medfl.site import read_site

    folder = ledger_folder(read_site(site))
    ledger = Ledger(folder)
    waiting = [held for held in ledger.held() if run in ("", held.run) and _is_of(study, held.study_name, held.study_hash)]
    entries = [entry for entry in list_outgoing(folder, run) if _is_of(study, entry.study, entry.study_hash)]
    if run:
        _require_one_study(run, entries, waiting)
    if release or release_all:
        _release(ledger, waiting, release or [], everything=release_all, yes=yes)
        return
    if as_json:
        print_json({"left": [asdict(entry) for entry in entries], "waits": [_held_to_json(held) for held in waiting]})
        return
    if (run or study) and not entries and not waiting:
        of_run = f" {run!r}" if run else ""
        of_study = f" of a study {study!r}" if study else ""
        raise DeployError("OUTBOX-UNKNOWN", f"nothing left for a run{of_run}{of_study}.", "Names of runs: medfl site outbox.")
    if run:
        _print_entries(entries)
    else:
        _print_runs(entries)
    _print_waiting(waiting)


def _is_of(wanted: str, name: str, study_hash: str) -> bool:
    return not wanted or name == wanted or study_hash.startswith(wanted)


def _require_one_study(run: str, entries: Sequence[OutboxEntry], waiting: Sequence[HeldAnswer]) -> None:
    """Refuse a name that runs of several studies have: whose answers a person means to see, or to let go, nobody knows."""
    studies = {entry.study_hash: entry.study for entry in entries} | {held.study_hash: held.study_name for held in waiting}
    if len(studies) > 1:
        names = join_words([_study(name, study_hash) for study_hash, name in sorted(studies.items())])
        what = f"runs of {len(studies)} studies are named {run!r}: {names}."
        raise DeployError(
            "OUTBOX-AMBIGUOUS", what, f"Name one by its hash: medfl site outbox {run} --study {min(studies)[:_HASH_WIDTH]}"
        )


def _study(name: str, study_hash: str) -> str:
    """Return a study in words; two versions of one study have one name, and the hash tells them apart."""
    return f"{name} {study_hash[:_HASH_WIDTH]}"


def _release(ledger: Ledger, waiting: Sequence[HeldAnswer], wanted: Sequence[int], *, everything: bool, yes: bool) -> None:
    unknown = sorted(set(wanted) - {held.number for held in waiting})
    if unknown:
        what = f"no answer {join_words([str(number) for number in unknown])} waits."
        raise DeployError("OUTBOX-UNKNOWN", what, "See which do: medfl site outbox.")
    chosen = [held for held in waiting if everything or held.number in wanted]
    if not chosen:
        output.print("No answer waits.")
        return
    _print_waiting(chosen)
    confirm(f"Let {plural(len(chosen), 'answer')} leave this site?", yes=yes)
    count = ledger.release(numbers=[held.number for held in chosen])
    output.print(f"{plural(count, 'answer')} may leave: now if the server still waits, and else when it asks the same again.")


def _print_runs(entries: Sequence[OutboxEntry]) -> None:
    if not entries:
        output.print("Nothing has left this site.")
        return
    runs = list(dict.fromkeys((entry.run, entry.study_hash) for entry in entries))
    table = Table(_run_column([run for run, _ in runs]), _study_column(), *(Column(name, justify="right") for name in _COUNTS))
    for run, study_hash in runs:
        of_run = [entry for entry in entries if (entry.run, entry.study_hash) == (run, study_hash)]
        states = [entry.state for entry in of_run]
        models = sum(record.bytes for entry in of_run if entry.state == "left" for record in entry.arrays)
        numbers = [format_count(states.count(state)) for state in ("left", "refused", "alarm")]
        table.add_row(Text(run), Text(_study(of_run[0].study, study_hash)), *numbers, format_bytes(models))
    output.print(table)
    output.print("Every number of a run: medfl site outbox RUN. Codes: answers of which only an error code left.")


def _print_entries(entries: Sequence[OutboxEntry]) -> None:
    if entries:
        output.print(Text(f"{entries[0].run}, study {_study(entries[0].study, entries[0].study_hash)}"))
    for entry in entries:
        when = entry.time[:16].replace("T", " ")
        head = Text.assemble((f"{entry.number} {_name(entry.kind, entry.arm, entry.round)}", "bold"), f", {when} UTC: ")
        output.print(head.append(_STATES[entry.state] + (f" {entry.code}" if entry.code else "")))
        for line in _describe(entry):
            output.print(Text(f"    {line}"))


def _describe(entry: OutboxEntry) -> Iterator[str]:
    from medfl.messages import records

    if entry.reason:
        yield f"why (only you see this): {entry.reason}"
    shown = [(key, value) for key, value in entry.numbers.items() if _is_told(value)]
    singles = [f"{key} {_format(value)}" for key, value in shown if not isinstance(value, list)]
    if singles:
        yield "; ".join(singles)
    yield from (f"{key}: {_format_list(value)}" for key, value in shown if isinstance(value, list))
    zeros = len(entry.numbers) - len(shown)
    if zeros:
        yield f"{plural(zeros, 'further entry', 'further entries')} zero, or hidden"
    known = ("name", records.RUN, records.ROUND)  # that the site and its answer are called so needs no line
    words = [f"{key} {value}" for key, value in sorted(entry.words.items()) if value and key not in known]
    if words:
        yield "; ".join(words)
    for record in entry.arrays:
        change = "" if record.change is None else f", {record.change:.4g} away from what came"
        size = f"{plural(record.tensors, 'array')}, {format_bytes(record.bytes)}"
        yield f"{record.record}: {size}, norm {record.norm:.4g}{change}"


def _is_told(value: Any) -> bool:
    return any(value) if isinstance(value, list) else bool(value)


def _format(value: Any) -> str:
    if isinstance(value, int):
        from medfl.messages import counts

        return counts.format_count(value)  # below zero: "fewer than"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _format_list(values: Sequence[Any]) -> str:
    """Return the entries of a list that are not zero, each after its place."""
    filled = [f"{place}: {_format(value)}" for place, value in enumerate(values) if value]
    rest = len(filled) - _MAX_BINS
    return ", ".join(filled[:_MAX_BINS]) + (f" and {rest} more (all with --json)" if rest > 0 else "")


def _print_waiting(waiting: Sequence[HeldAnswer]) -> None:
    if not waiting:
        return
    table = Table("N", "waits since", _run_column([held.run for held in waiting]), _study_column(), "answer")
    for held in waiting:
        item = held.item
        since = datetime.fromtimestamp(held.since, UTC).strftime("%Y-%m-%d %H:%M")
        study = Text(_study(held.study_name, held.study_hash))
        table.add_row(str(held.number), since, Text(held.run), study, _name(item.kind, item.arm, item.round))
    output.print(table)
    output.print("Look at one: medfl site outbox RUN. Let it go: medfl site outbox --release N")
    output.print("Flower keeps a message for 12 hours; an answer let go later leaves when the server asks the same again.")


def _run_column(runs: Sequence[str]) -> Column:
    """Return a column of names of runs, which are not cut: a person gives one back to this command."""
    return Column("run", min_width=min(max(map(len, runs)), _MAX_RUN_WIDTH), overflow="fold")


def _study_column() -> Column:
    return Column("study", min_width=_HASH_WIDTH, overflow="fold")


def _name(kind: str, arm: str, server_round: int) -> str:
    return " ".join(filter(None, (kind, arm, f"round {server_round}" if server_round else "")))


def _held_to_json(held: HeldAnswer) -> dict[str, Any]:
    return {**asdict(held), "since": datetime.fromtimestamp(held.since, UTC).isoformat(timespec="seconds")}
