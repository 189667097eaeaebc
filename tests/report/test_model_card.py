"""The model card: the numbers of the report, and of the model that it is of alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from medfl.report.model_card import CardModel, headline_scores, render_model_card
from medfl.report.report_data import read_report_data

SHARED = CardModel("federated", None, "best", "ab" * 32, "CC-BY-4.0", "12:cd")
Make = Callable[..., Any]


def test_a_card_tells_data_scores_licence_and_where_the_model_comes_from(make: Make, whole_run: Callable[[Any], Path]) -> None:
    data = read_report_data(whole_run(make("segmentation", "background,oedema,core")))
    card = render_model_card(data, SHARED)
    for told in (
        "| All hospitals |",
        "Dice, oedema",
        "test patients",
        "CC-BY-4.0",
        "ab" * 32,
        data.study.approved_hash(),
        "`12:cd`",
    ):
        assert told in card
    assert headline_scores(data, SHARED)["test_dice"] == round(data.overall_test.derived["dice"], 4)  # type: ignore[union-attr]


def test_a_card_of_another_model_bears_no_score_of_the_shared_one(make: Make, whole_run: Callable[[Any], Path]) -> None:
    data = read_report_data(whole_run(make("segmentation", "background,oedema,core")))
    final = replace(SHARED, which="final")
    card = render_model_card(data, final)
    assert "No score of this very model is on record" in card
    assert "Dice, oedema" not in card
    assert headline_scores(data, final) == {}
    site = data.sites[0]
    alone = render_model_card(data, replace(SHARED, arm="local", site=site))
    assert f"the model that {site} trained alone" in alone
    assert f"| {site} alone |" in alone


def test_counts_that_a_policy_hides_are_hidden_in_the_card(make: Make) -> None:
    maker = make("segmentation", "background,organ", sites={"big": (40, 12, 20), "few": (-10, -10, -10)})
    maker.join()
    maker.test("federated", 1)
    card = render_model_card(read_report_data(maker.end()), SHARED)
    row = next(line for line in card.splitlines() if line.startswith("| few |"))
    assert row.count("<10") >= 3
