"""Whatever fails at a hospital leaves as one code, and a failed question is not asked for ever."""

from __future__ import annotations

import numpy as np
import pytest

from medfl.clients.training.interrupts import stop_when
from medfl.errors import DataError, MedflError, StoppedError, TrainingError, safe_sentence
from medfl.grids import packing
from medfl.messages import records
from medfl.privacy.ledger import Ledger
from medfl.privacy.ledger_rows import ATTEMPTS
from tests.clients.answering_site import EVALUATE, JOIN, NOT_ANSWERED, TRAIN, Site, Work, site, work

__all__ = ["site", "work"]  # fixtures


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
