"""Padding: the size of an answer does not depend on its numbers and words."""

from __future__ import annotations

import pytest
from flwr.app import ConfigRecord, MetricRecord, RecordDict

from medfl.messages import records
from medfl.messages.padding import PADDED_BLOCK, pad, unpacked_size
from medfl.messages.replies import read_excluded, read_metrics


def answer(count: int, excluded: str) -> RecordDict:
    numbers = MetricRecord({"train.patients": count, "eval.confusion": [count] * 4, "train.loss": 0.5})
    return RecordDict({records.METRICS: numbers, records.SITE: ConfigRecord({"name": "a", records.EXCLUDED: excluded})})


@pytest.mark.parametrize("count", [0, 7, 10**9])
@pytest.mark.parametrize("length", [0, 3, 900, 2000])
def test_answers_of_other_numbers_and_words_have_one_size(count: int, length: int) -> None:
    content = answer(count, "x" * length)
    pad(content)
    assert unpacked_size(content) == PADDED_BLOCK
    pad(content)
    assert unpacked_size(content) == PADDED_BLOCK  # a kept answer is padded again


def test_a_long_answer_takes_a_further_block() -> None:
    content = answer(1, "x" * 4000)
    pad(content)
    assert unpacked_size(content) == 2 * PADDED_BLOCK


def test_a_server_reads_a_padded_answer_as_before() -> None:
    content = answer(7, "NII-TRUNCATED=2")
    before = read_metrics(content), read_excluded(content)
    pad(content)
    assert (read_metrics(content), read_excluded(content)) == before


def test_what_names_no_site_is_left_as_it_is() -> None:
    content = RecordDict({records.METRICS: MetricRecord({"a": 1})})
    pad(content)
    assert list(content) == [records.METRICS]
