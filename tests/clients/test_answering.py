"""How a hospital answers: once, in the same words, and with one code for whatever depends on its data."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from flwr.app import ArrayRecord, Context, Message, MessageType

from medfl import client_app
from medfl.clients import answering, node, node_cache
from medfl.clients.training.interrupts import stop_when
from medfl.data.findings import Finding
from medfl.errors import DataError, MedflError, StoppedError, TrainingError, safe_sentence
from medfl.grids import packing
from medfl.messages import padding, records
from medfl.privacy import outbox
from medfl.privacy.ledger import Ledger
from medfl.privacy.ledger_rows import ATTEMPTS
from medfl.site import init_site
from medfl.study import flatten
from tests.clients.real_node import Node

JOIN, TRAIN, EVALUATE = records.JOIN, MessageType.TRAIN, MessageType.EVALUATE
NOT_ANSWERED = safe_sentence("NOT-ANSWERED")


class Site(Node):
    """A hospital with the policy of `medfl site init`, except that it is small."""

    @property
    def budget(self) -> Path:
        return self.site_file.parent / "budget"

    def entries(self, run: str = "run-1") -> tuple[outbox.OutboxEntry, ...]:
        return outbox.list_outgoing(self.budget, run)

    def other_model(self) -> ArrayRecord:
        return records.to_array_record({n: a + 1 for n, a in records.from_array_record(self.model).items()})


@pytest.fixture
def site(nodule_study: Path, nodule_hospitals: Path) -> Site:
    site = Site.of_study(nodule_hospitals / "hospital-1" / "site.toml", nodule_study)
    site.edit_site('scores = "exact"', 'scores = "headline"')
    return site


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> Work:
    return Work(monkeypatch)


class Work:
    """The handlers of the node, counted; `before` is called at the beginning of each."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.done: list[str] = []
        self.before: Callable[[], object] = lambda: None
        for name in ("join", "train", "evaluate"):
            monkeypatch.setattr(node, name, self._count(name, getattr(node, name)))

    def _count(self, name: str, handle: Any) -> Any:
        def counting(*arguments: Any) -> Message:
            self.done.append(name)
            self.before()
            reply: Message = handle(*arguments)
            return reply

        return counting

    def fail_with(self, error: BaseException) -> None:
        def fail() -> None:
            raise error

        self.before = fail


def values_of(reply: Message) -> dict[str, Any]:
    """Return all that a reply says, but for the number of the exchange."""
    said: dict[str, Any] = {}
    for name, record in reply.content.items():
        if isinstance(record, ArrayRecord):
            said |= {f"{name}/{key}": array.data for key, array in record.items()}
        else:
            said |= {f"{name}/{key}": value for key, value in record.items() if key != records.EXCHANGE}
    return said


# The same question has the same answer


@pytest.mark.parametrize(
    ("kind", "config"),
    [(JOIN, {}), (TRAIN, {}), (EVALUATE, {"server_round": 2}), (EVALUATE, {"split": "test", "server_round": 3})],
)
def test_the_same_question_is_answered_with_the_same_bytes_and_no_further_work(
    site: Site, work: Work, kind: str, config: dict[str, Any]
) -> None:
    first = site.ask(kind, **config)
    node_cache._prepare.cache_clear()
    node_cache.get_network.cache_clear()  # as in a new process
    second = site.ask(kind, exchange="x2", **config)
    assert values_of(first) == values_of(second)
    assert len(work.done) == 1
    stamps = [reply.content.config_records[records.SITE][records.EXCHANGE] for reply in (first, second)]
    assert stamps == ["x1", "x2"]


def test_another_model_for_a_round_that_was_answered_is_refused(site: Site, work: Work) -> None:
    assert not site.ask(TRAIN).has_error()
    assert site.reason(TRAIN, model=site.other_model()) == safe_sentence("QUESTION-ANSWERED")
    assert work.done == ["train"]


def test_a_new_name_for_the_run_gives_no_more_questions_than_the_runs_allow(site: Site, work: Work) -> None:
    assert [site.ask(kind, run=f"run-{n}").has_error() for n in range(3) for kind in (JOIN, TRAIN)] == [False] * 6
    assert site.reason(JOIN, run="run-3") == safe_sentence("RUNS-SPENT")
    assert not site.ask(JOIN, run="run-0").has_error()


def test_a_run_that_could_not_begin_uses_up_none_of_those_that_may(site: Site, work: Work) -> None:
    assert [site.ask(JOIN, run=f"run-{n}").has_error() for n in range(5)] == [False] * 5
    assert not site.ask(TRAIN, run="run-4").has_error()


def test_a_simulated_hospital_has_no_budget(site: Site, work: Work, nodule_hospitals: Path) -> None:
    site.run_config["simulation.data"] = str(nodule_hospitals)
    assert not site.ask(TRAIN).has_error()
    context = Context(7, 5, {"partition-id": 0, "num-partitions": 3}, site.asked.content, dict(site.run_config))
    replies = [client_app.app(site.asked, context) for _ in range(2)]
    assert [reply.has_error() for reply in replies] == [False, False]
    assert work.done == ["train"] * 3
    assert records.PADDING not in replies[0].content.config_records[records.SITE]


def test_two_fingerprints_do_not_differ_by_one_patient(tmp_path: Path) -> None:
    """Their difference would describe one image. What is described are the cases of the run, as in everything it asks."""
    rows = ["image,label,patient"]
    for k in range(8):
        rows.append(f"i{k}.nii,l{k}.nii,p{k}")
        image = np.random.default_rng(k).integers(0, 200, (24, 28, 20)).astype(np.int16)
        nib.save(nib.Nifti1Image(image, np.eye(4)), tmp_path / f"i{k}.nii")
        nib.save(nib.Nifti1Image((image > 150).astype(np.uint8), np.eye(4)), tmp_path / f"l{k}.nii")
    (tmp_path / "index.csv").write_text("\n".join(rows[:-1]))
    file = init_site(tmp_path, "hospital-a", ".")
    file.write_text(file.read_text().replace("min-count = 10", "min-count = 5").replace("min-cases = 10", "min-cases = 2"))
    task = {"kind": "segmentation", "dimension": 3, "modality": "MR", "classes": "background,organ"}
    values = {"name": "organs", "rounds": 1, "task": task, "splits": {"test": 0.0}}
    site = Site(file, flatten(values | {"network": {"name": "unet"}, "loss": {"name": "dice-ce"}}), ArrayRecord())
    assert not site.ask(records.FINGERPRINT).has_error()
    (tmp_path / "index.csv").write_text("\n".join(rows))
    assert site.reason(records.FINGERPRINT, run="run-2") == NOT_ANSWERED
    assert not site.ask(records.FINGERPRINT).has_error()  # the answer that it had


# One code for what depends on data


@pytest.mark.parametrize(
    "error",
    [
        DataError("NII-TRUNCATED", "a file ends early", case="case-SECRET"),
        TrainingError("LOSS-NONFINITE", "the loss is no number"),
        StoppedError("POLICY-MINUTES", "it took too long"),
        ValueError("PATIENT_DOE"),
        MemoryError(),
    ],
)
@pytest.mark.parametrize("kind", [JOIN, TRAIN, EVALUATE])
def test_whatever_fails_once_data_is_used_leaves_as_one_code(
    site: Site, work: Work, kind: str, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    work.fail_with(error)
    assert site.reason(kind) == NOT_ANSWERED
    real = error.code if isinstance(error, MedflError) else f"[SITE-ERROR] {type(error).__name__}"
    assert real in caplog.text
    assert "PATIENT_DOE" not in caplog.text
    (entry,) = site.entries()
    assert (entry.state, entry.code) == ("refused", "NOT-ANSWERED")
    assert real in entry.reason


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [("min-cases = ", "min-cases = 100", "SITE-TOO-SMALL"), ("[policy]", "[policy]\nmin-patients = 100", "POLICY-PATIENTS")],
)
def test_a_site_that_declines_says_why_when_it_joins_and_never_again(site: Site, old: str, new: str, code: str) -> None:
    site.edit_site(old, new)
    assert site.reason(JOIN) == safe_sentence(code)
    assert site.reason(TRAIN) == NOT_ANSWERED
    assert site.reason(EVALUATE, server_round=2) == NOT_ANSWERED


def test_a_question_that_fails_each_time_is_not_worked_on_for_ever(
    site: Site, work: Work, caplog: pytest.LogCaptureFixture
) -> None:
    work.fail_with(TrainingError("LOSS-NONFINITE", "the loss is no number"))
    assert {site.reason(TRAIN) for _ in range(ATTEMPTS + 3)} == {NOT_ANSWERED}
    assert len(work.done) == ATTEMPTS
    assert "medfl site budget STUDY --retry" in caplog.text


def test_a_failed_question_is_spent_for_every_other_model(site: Site, work: Work) -> None:
    work.fail_with(TrainingError("LOSS-NONFINITE", "the loss is no number"))
    assert site.reason(TRAIN) == NOT_ANSWERED
    work.before = lambda: None
    assert site.reason(TRAIN, model=site.other_model()) == safe_sentence("QUESTION-ANSWERED")
    assert not site.ask(TRAIN).has_error()


@pytest.mark.parametrize("change", ["name", "values"])
def test_a_model_that_no_site_could_use_is_refused_by_its_own_code_and_costs_no_question(
    site: Site, work: Work, change: str
) -> None:
    arrays = records.from_array_record(site.model)
    name = next(iter(arrays))
    wrong = {**arrays, name: np.full_like(arrays[name], np.nan)}
    if change == "name":
        wrong = {f"other-{key}": value for key, value in arrays.items()}
    code = "MODEL-MISMATCH" if change == "name" else "MODEL-NONFINITE"
    assert site.reason(TRAIN, model=records.to_array_record(wrong)) == safe_sentence(code)
    assert not work.done
    assert not site.ask(TRAIN).has_error()


def test_a_reply_that_would_be_too_large_is_known_before_any_work(site: Site, work: Work) -> None:
    site.edit_site("[policy]", "[policy]\nmax-megabytes = 0.001")
    assert site.reason(TRAIN) == safe_sentence("POLICY-BYTES")
    assert not work.done


def test_an_answer_that_cannot_be_packed_leaves_as_the_same_code(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: object) -> None:
        raise MemoryError

    site.model = packing.pack(site.model)
    monkeypatch.setattr(packing, "pack_content", fail)
    assert site.reason(TRAIN) == NOT_ANSWERED


def test_an_answer_that_cannot_be_kept_does_not_leave(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise DataError("LEDGER-DAMAGED", "the disk is full")

    monkeypatch.setattr(Ledger, "settle", fail)
    assert site.reason(TRAIN) == NOT_ANSWERED


def test_ctrl_c_leaves_the_question_open_for_itself_alone(site: Site, work: Work) -> None:
    work.fail_with(KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        site.ask(TRAIN)
    work.before = lambda: None
    assert site.reason(TRAIN, model=site.other_model()) == safe_sentence("QUESTION-ANSWERED")
    assert not site.ask(TRAIN).has_error()


def test_work_for_a_run_that_is_over_says_so_and_is_done_again_when_it_is_resumed(site: Site, work: Work) -> None:
    with stop_when(lambda: "RUN-STOPPED"):
        assert site.reason(TRAIN) == safe_sentence("RUN-STOPPED")
    assert not site.ask(TRAIN).has_error()


# What an answer tells beside its numbers


def test_sizes_and_times_of_answers_tell_nothing(site: Site) -> None:
    for kind, config in ((JOIN, {}), (TRAIN, {}), (EVALUATE, {"server_round": 2})):
        reply = site.ask(kind, **config)
        assert padding.unpacked_size(reply.content) % padding.PADDED_BLOCK == 0
        assert reply.metadata.created_at == site.asked.metadata.created_at
        seconds = [v for r in reply.content.metric_records.values() for key, v in r.items() if key.endswith("seconds")]
        assert all(value == int(value) for value in seconds)


def test_an_error_tells_no_time_either(site: Site, work: Work) -> None:
    work.fail_with(ValueError())
    reply = site.ask(TRAIN)
    assert (reply.metadata.created_at, reply.metadata.ttl) == (site.asked.metadata.created_at, site.asked.metadata.ttl)


def find_now(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    """Have the site find so many cases that it leaves out, besides those that it uses."""
    error, load = DataError("NII-FORMAT", "it is no image", "Repair it."), node_cache.load_cases
    found = tuple(Finding.from_error(error, f"case-{n}") for n in range(count))
    monkeypatch.setattr(node_cache, "load_cases", lambda *given: replace(load(*given), findings=found))


def test_what_changes_in_the_data_after_joining_is_not_told_with_a_round(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as before:
        find_now(before, 3)
        assert site.info(JOIN)[records.EXCLUDED] == "NII-FORMAT=3"
    find_now(monkeypatch, 4)
    assert site.info(TRAIN)[records.EXCLUDED] == "NII-FORMAT=3"
    assert site.info(TRAIN, run="run-2")[records.EXCLUDED] == ""  # which told nothing at joining


# The outbox


def test_the_outbox_shows_every_number_and_word_that_left(site: Site) -> None:
    reply = site.ask(TRAIN)
    (entry,) = site.entries()
    assert (entry.state, entry.kind, entry.arm, entry.round) == ("left", "train", "federated", 1)
    sent = reply.content.metric_records[records.METRICS]
    assert entry.numbers.keys() == sent.keys()
    assert all(value == entry.numbers[key] for key, value in sent.items())
    words = dict(reply.content.config_records[records.SITE])
    assert {**entry.words, records.EXCHANGE: "x1", records.PADDING: words[records.PADDING]} == {
        key: value if isinstance(value, str) else str(value) for key, value in words.items()
    }
    before, after = (records.from_array_record(r) for r in (site.model, reply.content.array_records[records.ARRAYS]))
    norm = np.sqrt(sum(np.square(a.astype(float)).sum() for a in after.values()))
    change = np.sqrt(sum(np.square(after[n].astype(float) - before[n]).sum() for n in after))
    (arrays,) = entry.arrays
    assert (arrays.norm, arrays.change) == pytest.approx((norm, change))
    assert arrays.tensors == len(after)


def test_an_entry_is_private_and_named_by_what_was_asked(site: Site) -> None:
    site.ask(JOIN)
    site.ask(TRAIN)
    site.ask(JOIN, exchange="x2")
    files = sorted((site.budget / "outbox" / "run-1").iterdir())
    assert [file.name for file in files] == ["0001-join.json", "0002-train-federated-1.json"]
    assert {file.stat().st_mode & 0o777 for file in files} == {0o600}
    assert json.loads(files[0].read_text())["numbers"]


def test_an_answer_that_was_kept_and_not_noted_is_noted_before_it_leaves(site: Site, work: Work) -> None:
    site.ask(TRAIN)
    (file,) = (site.budget / "outbox" / "run-1").iterdir()
    file.unlink()  # as after a loss of power between the two
    site.ask(TRAIN)
    assert [entry.state for entry in site.entries()] == ["left"]
    assert work.done == ["train"]


def crafted(model: ArrayRecord) -> ArrayRecord:
    """Return a model that no training makes: its weights are a thousand times as large."""
    return records.to_array_record({n: a * 1000 for n, a in records.from_array_record(model).items()})


def test_a_model_that_does_not_move_as_in_training_is_noted_and_answered(site: Site) -> None:
    assert not site.ask(EVALUATE, server_round=2, model=crafted(site.model)).has_error()
    assert [(entry.state, entry.code) for entry in site.entries()] == [("alarm", "MODEL-PATH"), ("left", "")]


def test_such_a_model_is_not_answered_where_the_policy_says_so(site: Site, work: Work) -> None:
    site.edit_site("[policy]", "[policy]\non-alarm-refuse = true")
    assert site.reason(EVALUATE, server_round=2, model=crafted(site.model)) == NOT_ANSWERED
    assert [entry.state for entry in site.entries()] == ["alarm", "refused"]
    assert not work.done


def test_nothing_leaves_that_the_outbox_cannot_show(site: Site) -> None:
    site.budget.mkdir()
    (site.budget / "outbox").write_text("in the way")
    assert site.reason(TRAIN) == NOT_ANSWERED


# Answers that wait for a person


@pytest.fixture
def waiting(site: Site, monkeypatch: pytest.MonkeyPatch) -> Site:
    site.edit_site("[policy]", '[policy]\nrelease = "by-hand"')
    monkeypatch.setattr(answering, "_RELEASE_LOOK", 0.01)
    return site


def release_all(ledger: Ledger) -> None:
    ledger.release(numbers=[held.number for held in ledger.held()])


def test_an_answer_waits_until_a_person_releases_it(waiting: Site, work: Work) -> None:
    replies: list[Message] = []
    thread = threading.Thread(target=lambda: replies.append(waiting.ask(TRAIN)), daemon=True)
    thread.start()
    ledger = Ledger(waiting.budget)
    try:
        until = time.monotonic() + 60
        while not ledger.held() and time.monotonic() < until:
            time.sleep(0.02)
        time.sleep(0.1)
        assert not replies
        (entry,) = waiting.entries()
        assert entry.state == "waits"
        assert entry.numbers["train.patients"] > 0  # it can be read before it leaves
    finally:
        release_all(ledger)
        thread.join(60)
    assert not replies[0].has_error()
    assert [entry.state for entry in waiting.entries()] == ["left"]


def test_an_answer_that_is_released_too_late_is_given_when_the_question_comes_again(waiting: Site, work: Work) -> None:
    with stop_when(lambda: "RUN-STOPPED" if work.done and Ledger(waiting.budget).held() else None):
        assert waiting.reason(TRAIN) == safe_sentence("RUN-STOPPED")
    release_all(Ledger(waiting.budget))
    assert not waiting.ask(TRAIN).has_error()
    assert work.done == ["train"]


def test_a_message_that_expires_ends_the_waiting(waiting: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    later = time.time() + 1e6
    monkeypatch.setattr(answering.time, "time", lambda: later)
    assert waiting.reason(TRAIN) == NOT_ANSWERED


def test_no_message_makes_a_site_wait_for_longer_than_flower_keeps_one(waiting: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answering, "_LONGEST_WAIT", 0.0)
    assert waiting.reason(TRAIN) == NOT_ANSWERED
