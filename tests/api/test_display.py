"""What runs and checks show in a notebook: names of others are escaped, and the page around gives the colours."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path

import pytest

import medfl
from medfl.api import DataCheck, OpenRun
from medfl.data.findings import Finding
from medfl.data.quality.facts import SiteCheck
from medfl.metrics import merge
from medfl.privacy.suppression import suppress
from medfl.report.disclosure import preview_disclosure
from medfl.runs import read_history
from medfl.site import Site
from tests.report.conftest import Maker, study_of


class Text(HTMLParser):
    """The text of a piece of HTML, and what it would load."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.words: list[str] = []
        self.tags: list[str] = []
        self.feed(html)

    def handle_data(self, data: str) -> None:
        self.words += data.split()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)


def text_of(shown: OpenRun | DataCheck) -> str:
    html = shown._repr_html_()
    parsed = Text(html)
    assert not {"script", "img", "link", "iframe"} & set(parsed.tags)
    assert "http" not in html
    return " ".join(parsed.words)


@pytest.fixture
def run(tmp_path: Path) -> OpenRun:
    maker = Maker(tmp_path, study_of("segmentation", "background,core", rounds=2), {"<b>north</b>": (9, 3, 4)})
    maker.join()
    maker.train("federated", 2, trouble=False)
    maker.test("federated", 2, skill=0.8)
    maker.append({"event": "end", "status": "failed", "reason": "[TOO-FEW-SITES] <i>two</i> sites", "seconds": 3.0})
    return medfl.open_run(maker.run.path)


def test_a_run_shows_its_status_and_verdict(run: OpenRun) -> None:
    shown = text_of(run)
    assert "brain-tumour" in shown
    assert "Failed" in shown
    assert "This run failed after 2 rounds of 2" in shown
    assert "<i>" not in run._repr_html_()
    assert str(run.path.parent) not in repr(run) + run._repr_html_()
    assert repr(run) == f"<OpenRun {run.path.name} of brain-tumour>"


def test_the_scores_of_segmented_classes_have_their_names(run: OpenRun) -> None:
    scores = run.scores
    assert set(scores[scores.metric == "hd95"]["class"]) == {"", "core"}
    assert set(scores.site) == {"", "<b>north</b>"}


def test_a_check_shows_each_code_with_its_remedy_and_the_refusal() -> None:
    refusal = Finding("DATA-EMPTY", "", "no case of <u>north</u> can be used.", "Look at the findings.")
    found = SiteCheck("<u>north</u>", "brain", None, (), (), (refusal,), True, refusal, False)
    site = Site.model_validate({"name": "north"})
    check = DataCheck(site, None, found, preview_disclosure(found, None, site))
    shown = text_of(check)
    assert "Declines" in shown
    assert "DATA-EMPTY" in shown
    assert "Look at the findings." in shown
    assert "<u>" not in check._repr_html_()
    assert "DATA-EMPTY" in check.declined


def test_a_score_without_the_patients_that_a_site_hides_is_partial(tmp_path: Path) -> None:
    maker = Maker(tmp_path, study_of("segmentation", "background,core,rim", rounds=1), {"a": (9, 3, 20), "b": (9, 3, 20)})
    maker.join()
    maker.test("federated", 1)
    (event,) = [e for e in read_history(maker.run.path) if e["event"] == "test"]
    hidden = event["sites"]["a"]["metrics"] | {"eval.present.core": 2, "eval.missed.rim": 3, "eval.hidden": 0}
    event["sites"]["a"] = {"metrics": suppress(hidden, 5)}
    merged = merge(maker.study, [answer["metrics"] for answer in event["sites"].values()])
    maker.append({**event, "arm": "local", "eval": merged})
    scores = medfl.open_run(maker.run.path).scores
    assert not scores[scores.arm == "federated"].partial.any()
    changed = scores[scores.arm == "local"]
    partial = changed[changed.partial]
    assert set(partial.site) == {"", "a"}
    assert set(partial[partial.metric == "dice"]["class"]) == {"", "core"}
    assert set(partial[partial.metric == "missed"]["class"]) == {"core", "rim"}
    event["sites"]["a"] = {"metrics": suppress(hidden, 100)}
    maker.append({**event, "arm": "pooled", "eval": merge(maker.study, [a["metrics"] for a in event["sites"].values()])})
    scores = medfl.open_run(maker.run.path).scores
    pooled = scores[scores.arm == "pooled"]
    assert set(pooled.site) == {"", "b"}
    assert pooled[pooled.site == ""].partial.all()
    assert not pooled[pooled.site == "b"].partial.any()
