"""A site that restarts between stages, or is killed at any write: the same answers, the same sum, nothing twice."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from medfl.errors import MedflError, SecureAggregationError
from medfl.secure_aggregation import DiskStore, MemoryStore, SiteStore
from medfl.secure_aggregation.site_state import Release
from tests.secure_aggregation.federation import MODEL, Federation, names_of, same, sum_of, vector_of

pytestmark = pytest.mark.usefixtures("computed_once")

FOUR = names_of(4)
VICTIM = FOUR[0]
WRITES = 6  # keys, shares, vector, its state, signature, record of the sum; then what was given


class Killed(Exception):
    """The process ended here."""


class KilledStore(MemoryStore):
    """A store whose process ends at one of its writes, before or after the write was done."""

    def __init__(self, at: int, written: bool) -> None:
        super().__init__()
        self.left, self.written = at, written

    def _write(self, write: Callable[..., None], *arguments: object) -> None:
        self.left -= 1
        if self.left != 0 or self.written:
            write(*arguments)
        if self.left == 0:
            raise Killed

    def save(self, attempt: str, state: bytes) -> None:
        self._write(super().save, attempt, state)

    def save_vector(self, attempt: str, parts: Sequence[memoryview]) -> None:
        self._write(super().save_vector, attempt, parts)

    def save_release(self, model: str, record: bytes) -> None:
        self._write(super().save_release, model, record)


def survive(federation: Federation) -> None:
    """Ask the victim again where it was killed."""

    class Again:
        def __getattr__(self, step: str) -> Callable[..., object]:
            def ask(*arguments: object) -> object:
                try:
                    return getattr(federation.restart(VICTIM), step)(*arguments)
                except Killed:
                    if step == "mask":  # what was masked in place is gone with the process
                        arguments = (*arguments[:3], vector_of(VICTIM, federation.layout))  # type: ignore[arg-type]
                    return getattr(federation.restart(VICTIM), step)(*arguments)

            return ask

    federation.sites[VICTIM] = Again()  # type: ignore[assignment]


@pytest.mark.parametrize("written", [False, True])
@pytest.mark.parametrize("at", range(1, WRITES + 2))
def test_a_site_that_is_killed_at_any_write_goes_on(at: int, written: bool) -> None:
    store = KilledStore(at, written)
    federation = Federation(FOUR, stores={name: store if name == VICTIM else MemoryStore() for name in FOUR})
    survive(federation)
    assert same(federation.open_sum(), sum_of(FOUR, federation.layout))  # type: ignore[arg-type]
    assert store.left <= 0, "it was never killed"


def disk_federation(tmp_path: Path) -> Federation:
    stores: dict[str, SiteStore] = {name: DiskStore(tmp_path / name) for name in FOUR}
    return Federation(FOUR, stores=stores, drops={FOUR[3]: "input"})


def test_every_step_may_be_another_process_on_the_same_disk(tmp_path: Path) -> None:
    federation = disk_federation(tmp_path)

    class Restarted:
        def __getattr__(self, step: str) -> Callable[..., object]:
            federation.stores = {**federation.stores, VICTIM: DiskStore(tmp_path / VICTIM)}  # type: ignore[dict-item]
            return getattr(federation.restart(VICTIM), step)  # type: ignore[no-any-return]

    federation.sites[VICTIM] = Restarted()  # type: ignore[assignment]
    assert same(federation.open_sum(), sum_of(FOUR[:3], federation.layout))  # type: ignore[arg-type]
    again = disk_federation(tmp_path)
    assert same(again.open_sum(), sum_of(FOUR[:3], again.layout))  # type: ignore[arg-type]
    assert np.array_equal(again.masked[VICTIM].parameters, federation.masked[VICTIM].parameters)


def test_what_a_site_keeps_is_for_its_owner_alone_and_its_secrets_end_with_the_attempt(tmp_path: Path) -> None:
    federation = disk_federation(tmp_path)
    federation.exchange_inputs()
    (state,) = (tmp_path / VICTIM / "attempts").glob("*.json")
    assert b'"secrets":{' in state.read_bytes()
    federation = disk_federation(tmp_path)
    federation.open_sum()
    assert b'"secrets":null' in state.read_bytes()
    files = [path for path in (tmp_path / VICTIM).rglob("*") if path.is_file() and path.name != "lock"]
    assert {path.suffix for path in files} == {".json", ".vector"}
    assert {path.stat().st_mode & 0o777 for path in files} == {0o600}
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / VICTIM).rglob("*") if path.is_dir()} == {0o700}
    federation.stores[VICTIM].forget(federation.attempt.digest)  # type: ignore[index]
    assert [path.parent.name for path in (tmp_path / VICTIM).rglob("*.*")] == ["opened"]


@pytest.mark.parametrize("content", [b"", b"{}", b'{"attempt":', bytes(100)])
def test_a_damaged_state_is_refused_and_nothing_new_is_begun(tmp_path: Path, content: bytes) -> None:
    federation = disk_federation(tmp_path)
    federation.exchange_keys()
    (state,) = (tmp_path / VICTIM / "attempts").glob("*.json")
    state.write_bytes(content)
    with pytest.raises(SecureAggregationError, match="SECAGG-STATE"):
        federation.sites[VICTIM].advertise()


@pytest.mark.parametrize("damage", [lambda content: content[:-1], lambda content: bytes(len(content)), lambda content: b""])
def test_a_masked_vector_that_was_changed_on_the_disk_is_not_sent(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    federation = disk_federation(tmp_path)
    federation.exchange_inputs()
    (vector,) = (tmp_path / VICTIM / "attempts").glob("*.vector")
    vector.write_bytes(damage(vector.read_bytes()))
    with pytest.raises(SecureAggregationError, match="SECAGG-STATE"):
        federation.send_input(VICTIM)


def test_a_damaged_record_of_an_opened_sum_still_closes_the_model(tmp_path: Path) -> None:
    federation = disk_federation(tmp_path)
    signatures = federation.exchange_signatures()
    (tmp_path / VICTIM / "opened" / f"{MODEL}.json").write_bytes(b"")
    with pytest.raises(SecureAggregationError, match="SECAGG-STATE"):
        federation.sites[VICTIM].unmask(FOUR[:3], signatures)
    other = Federation(FOUR, stores=federation.stores, fields={"number": 2})
    other.exchange_shares()
    with pytest.raises(SecureAggregationError, match="SECAGG-ONE-SUM"):
        other.send_input(VICTIM)


def test_a_full_disk_sends_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    federation = disk_federation(tmp_path)
    signatures = federation.exchange_signatures()
    monkeypatch.setattr("medfl.system.files.os.fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(MedflError, match="DISK-FULL"):
        federation.sites[VICTIM].unmask(FOUR[:3], signatures)
    monkeypatch.undo()
    assert federation.stores[VICTIM].load_release(MODEL) is None  # type: ignore[index]
    assert federation.sites[VICTIM].unmask(FOUR[:3], signatures).self_masks.keys() == set(FOUR[:3])


def _record(folder: Path, attempt: str, results: multiprocessing.Queue[bool]) -> None:
    try:
        DiskStore(folder).save_release(MODEL, Release(attempt, ("a", "b", "c")).to_json())
    except (FileExistsError, MedflError):
        results.put(False)
    else:
        results.put(True)


def test_of_several_processes_one_opens_a_sum(tmp_path: Path) -> None:
    DiskStore(tmp_path)
    context = multiprocessing.get_context("fork")
    results: multiprocessing.Queue[bool] = context.Queue()
    processes = [context.Process(target=_record, args=(tmp_path, str(number), results)) for number in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert sorted(results.get() for _ in processes) == [False, False, False, True]
