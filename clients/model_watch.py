"""The watch of a hospital over the path of a model: it compares each received one with its own first one and the last one."""

from __future__ import annotations

import contextlib
import logging
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from safetensors import SafetensorError

from medfl.clients.networks.arrays import Arrays
from medfl.clients.networks.tuning import build_training_network_without_memory
from medfl.clients.start.initial_layers import initial_shared
from medfl.clients.start.kept_start import KeptStart, kept_start
from medfl.clients.training.client_state import is_run_name
from medfl.clients.training.round_rates import count_own_rounds, round_rate
from medfl.errors import PolicyError
from medfl.messages import records
from medfl.messages.models import Layout, Tensors
from medfl.privacy import model_path, path_store
from medfl.privacy.alarms import MODEL_PATH, report_alarms
from medfl.privacy.expected_pace import Pace, expect_pace
from medfl.privacy.ledger import ledger_folder
from medfl.privacy.model_path import Alarm, Received, TensorFacts
from medfl.privacy.path_store import PathNotes, StoredModel
from medfl.privacy.questions import Item
from medfl.privacy.tensor_statistics import Extent, measure_change, measure_extent
from medfl.site import Site
from medfl.study import Study

_WATCHED = ("train", "contribution", "validation", "test")
_log = logging.getLogger(__name__)


def _forget(alarms: str) -> None:
    """Keep no copy of the alarms."""


class FirstModel(NamedTuple):
    """What a hospital knows of the first model of an arm, by its own computation."""

    facts: Mapping[str, TensorFacts]
    layout: Layout
    buffers: frozenset[str]


def check_model(
    study: Study, site: Site, run: str, item: Item, arrays: Mapping[str, Tensors], note: Callable[[str], None] = _forget
) -> tuple[Alarm, ...]:
    """Watch a received model, report what is unusual, and return it.

    Parameters
    ----------
    study, site : Study, Site
        What is asked of whom.
    run : str
        Name of the run, given by the server.
    item : Item
        What is asked.
    arrays : mapping of str to mapping of str to ndarray
        All array records of the message.
    note : callable, optional
        Called with the alarms in words, if there are any.

    Raises
    ------
    PolicyError
        ``MODEL-PATH`` when something is unusual, and the policy of the site refuses such messages.
    """
    alarms = watch(study, site, run, item, arrays)
    report_alarms(site, study.name, run, f"{item.kind} of the arm {item.arm}, round {item.round}", alarms, note)
    if alarms and site.policy.on_alarm_refuse:
        what = f"{len(alarms)} figures of the received model are not those of training, the first is the {alarms[0]}."
        raise PolicyError(MODEL_PATH, what, "Ask who runs the server, and read 'medfl site outbox'.")
    return alarms


def watch(study: Study, site: Site, run: str, item: Item, arrays: Mapping[str, Tensors]) -> tuple[Alarm, ...]:
    """Return what is unusual about a received model, and keep it to compare the next one with, unless something is."""
    found = measure(study, site, run, item, arrays)
    return tuple(figure for figure in found if figure.is_beyond)


def measure(study: Study, site: Site, run: str, item: Item, arrays: Mapping[str, Tensors]) -> list[Alarm]:
    """Measure a received model as `watch` does, and return all figures."""
    model = arrays.get(records.ARRAYS, {})
    if item.kind not in _WATCHED or not is_run_name(run):
        return []  # such a name is refused before the work
    folder = watch_folder(site, study)
    start = kept_start(study, site)
    if study.start.is_given and start is None:
        _keep_first(study, item, folder, model)
    first = _find_first_model(study, item.arm, folder, start)
    if {name: (tensor.shape, tensor.dtype) for name, tensor in model.items()} != first.layout:
        return []  # no model of this study: it is refused before it is used
    place = folder / run / item.arm
    notes = path_store.load_notes(place)
    with _open_reference(study, item, place, folder, start) as reference:
        rounds = _count_rounds(study, item, reference.rounds, notes.rate)
        pace = _expect_pace(study, item, notes)
        received = Received(model, first.buffers, first.facts, reference.read, rounds, notes.own, pace, site.policy.max_step)
        figures = list(model_path.measure_model(received))
        if control := arrays.get(records.CONTROL):
            figures += model_path.measure_control(control, received)
        change = [measure_change(t, reference.read(n)).rms * t.size**0.5 for n, t in model.items() if t.dtype.kind == "f"]
    _keep(study, item, place, model, notes, change, is_usual=not any(figure.is_beyond for figure in figures))
    return figures


def note_update(study: Study, site: Site, run: str, item: Item, received: Tensors, trained: Tensors, steps: int) -> None:
    """Keep how far this hospital's own training moved each tensor, unless the model that it began with raised an alarm.

    Parameters
    ----------
    study, site, run, item
        As in `check_model`; the item is one of training.
    received, trained : mapping of str to ndarray
        The model before and after; tensors that stay at the site may be among them.
    steps : int
        Optimizer steps of the round.
    """
    if not is_run_name(run):
        return
    folder = watch_folder(site, study)
    place = folder / run / item.arm
    notes = path_store.load_notes(place)
    if _question(item) in notes.alarmed:
        return
    for name in _find_first_model(study, item.arm, folder, kept_start(study, site)).facts:
        step, before = measure_change(trained[name], received[name]), notes.own.get(name, Extent(0.0, 0.0))
        notes.own[name] = Extent(max(step.rms, before.rms), max(step.peak, before.peak))
    notes.steps, notes.rate = steps, max(notes.rate, round_rate(study, item.round))
    with _survive_disk():
        path_store.save_notes(place, notes)


def watch_folder(site: Site, study: Study) -> Path:
    """Return the folder in which a hospital keeps what it needs to watch a study."""
    return ledger_folder(site) / "path" / study.approved_hash()[:16]


@contextmanager
def _open_reference(study: Study, item: Item, place: Path, folder: Path, start: KeptStart | None) -> Iterator[StoredModel]:
    """Open the model to compare with: the last one of the arm, or else the first, as for another hospital's own model."""
    others = item.kind == "test" and item.arm == "local"
    with path_store.open_model(place) as last:
        if last is not None and not others:
            yield last
            return
    stored = folder / _first_name(study, item.arm)
    if not path_store.has_model(stored):  # the disk was full when it was computed, or somebody cleaned up
        _find_first_model.cache_clear()
        _find_first_model(study, item.arm, folder, start)
    with path_store.open_model(stored) as first:
        if first is None:
            raise PolicyError(MODEL_PATH, "the first model cannot be read.", "Check the disk of the site.")
        yield first


def _count_rounds(study: Study, item: Item, reference: int, rate: float) -> float:
    """Return how many rounds of training may lie between a received model and the one of the last comparison."""
    if item.kind == "test":  # of the best round, which may be an early one
        return max(count_own_rounds(study, reference, end, rate) for end in (0, study.rounds))
    rounds = _rounds_of(item)
    if rounds == reference == 0 and study.strategy.name != "cyclic":  # there the first hospital has trained it already
        return 0
    return count_own_rounds(study, reference, rounds, rate)


def _expect_pace(study: Study, item: Item, notes: PathNotes) -> Pace:
    """Return the pace of a study at a question, at the learning rate of the hospital's own rounds, or at that of now."""
    now = round_rate(study, item.round)
    return expect_pace(study, item.arm, notes.steps, _rounds_trained(study, item), min(now, notes.rate or now))


def _rounds_of(item: Item) -> int:
    """Return how many rounds of training the model of a question has seen."""
    return item.round - 1 if item.kind == "train" else item.round


def _rounds_trained(study: Study, item: Item) -> int:
    """Return the same, where a test is of the last round: it has no number of its own."""
    return study.rounds if item.kind == "test" else _rounds_of(item)


def _keep(
    study: Study, item: Item, place: Path, model: Tensors, notes: PathNotes, change: list[float], *, is_usual: bool
) -> None:
    norms = [measure_extent(t).rms * t.size**0.5 for t in model.values() if t.dtype.kind == "f"]
    key = _question(item)
    notes.norms[key] = [_length(norms), _length(change)]
    if not is_usual:
        notes.alarmed = sorted({*notes.alarmed, key})
    with _survive_disk():
        path_store.save_notes(place, notes)
        if item.kind == "test":
            path_store.remove_model(place)  # the arm is over
        elif is_usual and item.kind != "contribution":
            path_store.save_model(place, model, _rounds_of(item))


def _length(parts: list[float]) -> float:
    return math.hypot(*parts)


def _question(item: Item) -> str:
    return f"{item.kind}-{item.round}"


@contextmanager
def _survive_disk() -> Iterator[None]:
    """Log it when the disk refuses: the next comparison is with an earlier model, over more rounds."""
    try:
        yield
    except OSError as error:
        _log.error("[%s] the last model cannot be kept for comparison: %s.", MODEL_PATH, error.strerror or type(error).__name__)


def _first_name(study: Study, arm: str) -> str:
    return "first-whole" if arm == "local" and study.local_layers else "first"


def _keep_first(study: Study, item: Item, folder: Path, model: Tensors) -> None:
    """Keep the first model that came, where a hospital has no weights to make one of.

    That of the first round was held against the study's digest before. A hospital that is asked later first compares with what
    it got then, which it cannot verify.
    """
    stored = folder / _first_name(study, item.arm)
    is_verified = item.kind == "train" and item.round == 1
    with path_store.open_model(stored) as kept:
        if kept is not None and (kept.rounds == 0 or not is_verified):
            return
    if not is_verified:
        _log.warning(
            "[%s] the first model of the study did not come here, so the next ones are compared with this.", MODEL_PATH
        )
    with _survive_disk():
        rounds = 0 if is_verified else max(1, _rounds_trained(study, item))  # 0 marks the verified one
        path_store.save_model(stored, model, rounds)
    _find_first_model.cache_clear()


@lru_cache(maxsize=4)
def _find_first_model(study: Study, arm: str, folder: Path, start: KeptStart | None) -> FirstModel:
    """Compute the first model of an arm and keep it, or read the one that came; return what is known of it."""
    net = build_training_network_without_memory(study)
    arrays = initial_shared(study, arm, start)
    name = _first_name(study, arm)
    if study.start.is_given and start is None:
        arrays = _read_first(folder / name, arrays)
    else:
        with contextlib.suppress(OSError):  # it is missed where it is opened
            path_store.save_model(folder / name, arrays, 0)
    layout = {key: (tensor.shape, tensor.dtype) for key, tensor in arrays.items()}
    buffers = frozenset(key for key, _ in net.named_buffers())
    return FirstModel(model_path.collect_facts(arrays), layout, buffers)


def _read_first(path: Path, seeded: Arrays) -> Arrays:
    """Return the first model as it was kept; that of the seed, which has the same layout, where none fits."""
    with path_store.open_model(path) as kept, contextlib.suppress(SafetensorError):
        if kept is not None:
            found = {name: kept.read(name) for name in seeded}
            if all(found[name].shape == array.shape for name, array in seeded.items()):
                return found
    return seeded
