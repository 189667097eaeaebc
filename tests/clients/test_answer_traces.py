"""What an answer tells beside its numbers, and what the outbox shows of it."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from flwr.app import ArrayRecord

from medfl.clients import node_cache
from medfl.data.findings import Finding
from medfl.errors import DataError
from medfl.messages import padding, records
from tests.clients.answering_site import EVALUATE, JOIN, NOT_ANSWERED, TRAIN, Site, Work, site, work

__all__ = ["site", "work"]  # fixtures


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
