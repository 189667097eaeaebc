"""State that a site keeps from round to round, seen as files: which there are, and whether some were lost.

With each round a site saves what it keeps, under the number of the round, and last a list of the names of all that it keeps by
then. So a name that is in the list and has no file is known to be lost, and not taken for one that was never saved.
"""

from __future__ import annotations

from pathlib import Path

from medfl.runs import checkpoint_files

_LIST = "kept"  # name of the list among what is kept
_NAMES, _FIRST = "names", "first"  # in it: what is kept; whether it is the list of the site's first round


def checkpoint_name(name: str, server_round: int) -> str:
    """Return the name of the checkpoint of what a site saved in a round."""
    return f"{name}-round-{server_round:05d}"


def saved_rounds(folder: Path, name: str) -> list[int]:
    """Return the rounds of which there is something under a name, sorted."""
    start = f"{name}-round-"
    return sorted(int(f.removeprefix(start)) for f in checkpoint_files.list_names(folder) if f.startswith(start))


def write_list(folder: Path, server_round: int) -> None:
    """Write the list of a round that is over, if anything is kept; those of this round and of the one before stay."""
    saved = (file.rpartition("-round-") for file in checkpoint_files.list_names(folder))
    names = {name for name, _, number in saved if int(number) <= server_round} - {_LIST}
    if not names:
        return
    earlier = [n for n in saved_rounds(folder, _LIST) if n < server_round]
    checkpoint_files.save(folder, checkpoint_name(_LIST, server_round), {}, {_NAMES: sorted(names), _FIRST: not earlier})
    for n in set(saved_rounds(folder, _LIST)) - {server_round, *earlier[-1:]}:
        checkpoint_files.remove(folder, checkpoint_name(_LIST, n))


def is_lost_before(folder: Path, server_round: int) -> bool:
    """Return whether a site kept something before a round that it does not have any more, as far as it can tell by itself."""
    listed = saved_rounds(folder, _LIST)
    if not any(n < server_round for n in listed):
        # what is left is of later rounds alone, unless the site's first round is done again
        return bool(listed) and not checkpoint_files.load(folder, checkpoint_name(_LIST, listed[0])).meta[_FIRST]
    return _has_gap(folder, max(n for n in listed if n < server_round), server_round - 1)


def is_lost_since(folder: Path, counted: int, last: int, newest: int) -> bool:
    """Return whether a site has lost what it kept in the last round in which its reply counted.

    Parameters
    ----------
    folder : Path
        Folder of what it keeps in the run.
    counted : int
        That round.
    last : int
        Last complete round of the run; between the two are rounds in which the site was not asked, or its reply did not count.
    newest : int
        Last round under whose number something may be that is still needed: a closing evaluation saves under the next one.
    """
    lists = [n for n in saved_rounds(folder, _LIST) if counted <= n <= last]
    return not lists or _has_gap(folder, lists[-1], newest)


def _has_gap(folder: Path, list_round: int, newest: int) -> bool:
    names = checkpoint_files.load(folder, checkpoint_name(_LIST, list_round)).meta[_NAMES]
    return not all(any(n <= newest for n in saved_rounds(folder, name)) for name in names)
