"""The report of a run: one file that needs no network, agrees with the history of the run, and is safe to open."""

from __future__ import annotations

import json
import re
import stat
import subprocess
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medfl.errors import RunError
from medfl.metrics import CaseScore, as_personal, classification_metrics, merge, personal_part, segmentation_metrics
from medfl.privacy.suppression import suppress
from medfl.report import tables, write_report
from medfl.report.formatting import format_difference
from medfl.report.report_data import read_report_data
from medfl.report.tables import personal_table
from medfl.report.verdict import verdict_sentences
from medfl.runs import list_runs
from tests.studies import as_before_arms_moved

Make = Callable[..., Any]
Whole = Callable[[Any], Path]


class Reader(HTMLParser):
    """Collects every address, the visible text, and tags that are left open."""

    VOID = frozenset({"meta", "img", "br", "link", "input"})

    def __init__(self, page: str) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.tags: list[str] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [
            value or "" for name, value in attrs if name in ("src", "href", "srcset", "action", "data", "xlink:href")
        ]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> closes another tag"

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.words.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.words))


def page_of(run: Path) -> tuple[str, Reader]:
    file = write_report(run)
    assert file == run / "report.html"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600  # it shows images of patients
    page = file.read_text(encoding="utf-8")
    reader = Reader(page)
    assert reader.open == []
    return page, reader


@pytest.mark.parametrize(
    ("kind", "classes"),
    [
        ("segmentation", "background,tumour"),
        ("segmentation", "background,oedema,core"),
        ("classification", "normal,pneumonia"),
        ("classification", "normal,pneumonia,nodule"),
    ],
)
def test_one_file_that_loads_nothing_from_the_network_and_names_each_hospital(
    make: Make, whole_run: Whole, kind: str, classes: str
) -> None:
    page, reader = page_of(whole_run(make(kind, classes)))
    assert all(address.startswith("data:image/png;base64,") for address in reader.addresses)
    assert not re.search(r"url\(|@import|https?://", page)
    assert not {"script", "link", "iframe", "object"} & set(reader.tags)
    for site in ("harbour-clinic", "north-general", "st-anna", "uni-hospital"):
        assert site in reader.text
    for name in classes.split(",")[1:]:
        assert name in reader.text
    assert "nan" not in reader.text.lower().split()
    assert "None" not in reader.text


def test_the_outcome_says_what_was_measured_over_what_and_on_how_many(make: Make, whole_run: Whole) -> None:
    run = whole_run(make("segmentation", "background,tumour"))
    _, reader = page_of(run)
    got = read_report_data(run).comparison
    together, alone = f"{got.federated_on_others:.2f}", f"{got.local_on_others:.2f}"
    assert (
        f"the shared model reached a mean Dice of {together}, and the models that hospitals trained alone {alone}"
        in reader.text
    )
    assert f"({float(together) - float(alone):+.2f}".replace("(", "difference ") in reader.text
    assert "means over 4 hospitals, each scored on the patients of all others" in reader.text
    assert "measured on 70 test patients; without an interval it does not show which is better" in reader.text
    assert "Completed" in reader.text
    assert "round 11, scored once" in reader.text
    assert "lowest Dice" in reader.text


@pytest.mark.parametrize("skill", [0.4, 0.7, 0.9])
def test_no_verdict_is_drawn_from_point_estimates(make: Make, skill: float) -> None:
    maker = make("segmentation", "background,tumour")
    maker.join()
    maker.test("federated", 2, skill=skill)
    for site in maker.sites:
        maker.test("local", 2, site, skill=0.7)
    sentences = " ".join(verdict_sentences(read_report_data(maker.end())))
    assert "without an interval it does not show which is better" in sentences
    assert not re.search(r"\b(beats?|worse|does better|do better|best|worst|clear|leads?|wins?)\b", sentences)


def test_the_lowest_score_that_is_marked_is_the_lowest_that_is_shown(make: Make, whole_run: Whole) -> None:
    sites = {"big": (40, 6, 40), "few": (9, 2, 3), "mid": (20, 3, 12)}
    data = read_report_data(whole_run(make("classification", "normal,pneumonia", sites=sites)))
    table = tables.test_table(data)
    assert table is not None
    marked = [row.head for row in table.rows if row.mark]
    scores = {t.site: t.derived["auroc"] for t in data.site_tests}
    assert marked in ([min(scores, key=lambda site: scores[site])], [])
    assert bool(marked) == (data.comparison.federated_lowest is not None and len(data.comparison.federated_lowest.sites) == 1)


def test_an_auroc_is_told_with_the_bound_of_its_error_and_no_smaller_difference_is_told(make: Make) -> None:
    maker = make("classification", "no,yes", sites={"a": (40, 6, 20), "b": (40, 6, 20)}, rounds=1)
    labels, scores = np.arange(20) % 2, np.linspace(0.5, 0.52, 20)
    metrics = classification_metrics(
        [f"p{k}" for k in range(20)], labels, np.stack([1 - scores, scores], 1), ["no", "yes"], 0.5
    )
    maker.metrics = lambda *_, **__: metrics
    maker.join()
    maker.test("federated", 1)
    for site in maker.sites:
        maker.test("local", 1, site)
    run = maker.end()
    data = read_report_data(run)
    error = data.site_tests[0].errors["auroc"]
    page, reader = page_of(run)
    assert error == pytest.approx(0.115)  # 23 of the 100 pairs lie in one bin
    bound = "±0.115"
    assert re.search(rf"a 20 0\.\d+ {bound} 0\.\d+ ±0\.\d+", reader.text)
    assert f"{bound} from its bins" in reader.text
    assert "It is no confidence interval" in reader.text
    assert "lowest AUROC" not in page  # nobody knows which of the two is lower
    assert "a or b: too close to tell apart" in reader.text


def test_names_and_reasons_of_others_cannot_become_code(make: Make) -> None:
    bad = '<script>alert("x")</script>'
    sites = {f"{bad}1": (4, 2, 3), "b": (4, 2, 3)}
    maker = make("segmentation", f"background,{bad}", sites=sites, rounds=1)
    maker.join()
    maker.train("federated", 1, trouble=False)
    maker.test("federated", 1)
    maker.append({"event": "failed", "site": f"{bad}2", "during": "join", "reason": f"{bad}3"})
    maker.append({"event": "joined", "site": "c", "excluded": {f"{bad}4": 1}})
    page, reader = page_of(maker.end("failed", reason=f"{bad}5"))
    assert "<script" not in page
    assert "script" not in reader.tags
    for number in "12345":
        assert f"{bad}{number}" in reader.text


def test_without_a_local_arm_there_is_no_comparison(make: Make) -> None:
    maker = make("segmentation", "background,tumour", arms="federated", rounds=2)
    maker.join()
    maker.train("federated", 2)
    maker.test("federated", 2)
    _, reader = page_of(maker.end())
    assert "Together or alone" not in reader.text
    assert (
        "Over 70 test patients of 4 hospitals together, none used for training, the shared model reached a Dice of"
        in reader.text
    )
    assert "Patients it was trained on 240" in reader.text
    assert "Examples" not in reader.text


def test_a_local_arm_alone_has_curves_and_a_matrix(make: Make) -> None:
    maker = make("segmentation", "background,tumour", arms="local", rounds=2)
    maker.join()
    maker.train("local", 2)
    for site in maker.sites:
        maker.test("local", 2, site)
    _, reader = page_of(maker.end())
    assert "Every model on every hospital’s patients" in reader.text
    assert "Dice on validation patients" in reader.text


@pytest.mark.parametrize(("status", "badge"), [("failed", "Failed"), ("stopped", "Stopped early"), (None, "Not finished")])
def test_a_run_that_did_not_complete_says_so_and_shows_what_there_is(make: Make, status: str | None, badge: str) -> None:
    maker = make("segmentation", "background,tumour")
    maker.join()
    maker.train("federated", 3)
    run = maker.end(status, reason="[TOO-FEW-SITES] 1 of 4 sites can take part.") if status else maker.run.path
    _, reader = page_of(run)
    assert badge in reader.text
    assert "No model was tested: there is no result to rely on." in reader.text
    assert "after 3 rounds of 12" in reader.text
    if status:
        assert "1 of 4 sites can take part" in reader.text
    assert "It came after the deadline." in reader.text


def test_an_empty_run_still_has_a_report(make: Make) -> None:
    maker = make("classification", "normal,pneumonia")
    (maker.run.path / "history.jsonl").unlink()
    _, reader = page_of(maker.run.path)
    assert "before the first round was done" in reader.text
    assert "No hospital joined." in reader.text


def test_what_a_policy_hides_reads_hidden_and_what_is_not_defined_na(make: Make) -> None:
    maker = make(
        "classification", "normal,pneumonia", sites={"big": (40, 6, 20), "few": (9, 2, 3), "one": (9, 2, 1), "no": (9, 2, 0)}
    )
    maker.join()
    maker.test("federated", 1)
    rewrite(maker, {"few": 5, "big": 5})
    _, reader = page_of(maker.end())
    table = reader.text.split("The test, hospital by hospital")[1]
    assert "few hidden n/a" in table
    assert "one 1 n/a" in table
    assert "no 0 n/a" in table
    assert re.search(
        r"big( lowest AUROC)? 20 [01]\.\d+ ±[01]\.\d+ [01]\.\d+ ±[01]\.\d+ hidden hidden hidden hidden", table
    )  # few wrong answers
    assert "2 of the hospitals are not in it" not in table  # only `big` hides a confusion matrix that it had
    assert "1 of the hospitals are not in it: their policies hide so few wrong predictions." in table


def test_a_class_that_one_hospital_hides_is_shown_for_the_others(make: Make) -> None:
    maker = make("segmentation", "background,oedema,core", sites={"a": (40, 6, 20), "b": (40, 6, 20)})
    maker.join()
    maker.test("federated", 1)
    events = [json.loads(line) for line in (maker.run.path / "history.jsonl").read_text().splitlines()]
    metrics = events[-1]["sites"]["a"]["metrics"]
    metrics |= {"eval.present.core": 2, "eval.missed.oedema": 3}
    (maker.run.path / "history.jsonl").write_text("".join(json.dumps(e) + "\n" for e in events))
    rewrite(maker, {"a": 5})
    _, reader = page_of(maker.end())
    table = reader.text.split("Surface Dice Missed, all classes False positive, all classes")[1]
    assert re.search(r"a( lowest Dice)? 20 (0\.\d+) 0\.\d+ hidden \d+\.\d 0\.\d+ hidden hidden", table)
    assert re.search(r"All patients 40 (0\.\d+ ){3}", table)


def rewrite(maker: Any, rules: dict[str, int]) -> None:
    """Hide in the last test what the policies of sites hide, by the number of patients below which they do."""
    file = maker.run.path / "history.jsonl"
    events = [json.loads(line) for line in file.read_text().splitlines()]
    sites = events[-1]["sites"]
    for site, k in rules.items():
        metrics = suppress(sites[site]["metrics"], k)
        sites[site] = {"metrics": metrics, "derived": {}}
    events[-1]["eval"] = merge(maker.study, [answer["metrics"] for answer in sites.values()])
    file.write_text("".join(json.dumps(e) + "\n" for e in events))


def test_counts_below_the_policy_are_shown_as_few(make: Make) -> None:
    maker = make("segmentation", "background,tumour", sites={})
    cases = {"train": 40, "validation": -10, "test": 12}
    few = {"event": "joined", "site": "a", "train": 31, "validation": -10, "test": 12, "cases": cases}
    maker.append(few | {"excluded": {"LBL-EMPTY": -10, "NII-4D": 11}})
    cases = {"train": 20, "validation": 4, "test": 5}
    open_site = {"event": "joined", "site": "b", "train": 20, "validation": 4, "test": 5, "cases": cases}
    maker.append(open_site | {"excluded": {"LBL-EMPTY": 2}})
    _, reader = page_of(maker.end("failed"))
    used = reader.text.split("What was used, what was left out")[1]
    assert "a at least 65 at least 12 at least 53 31 (40 images) <10 12" in used
    assert "b 31 2 29 20 4 5" in used
    assert "All hospitals at least 96 at least 14 at least 82 51 (60 images) at least 5 17" in used
    assert "LBL-EMPTY The label has no marked voxel. at least 3 a <10, b 2" in used
    assert "NII-4D The file holds several volumes, for example time points. 11 a 11" in used


def test_who_annotated_what_is_shown_where_hospitals_annotate_different_structures(make: Make, whole_run: Whole) -> None:
    maker = make("segmentation", "background,liver,spleen", sites={"north": (9, 2, 4), "south": (9, 2, 3), "west": (9, 2, 2)})
    knows = {"north": ["liver"], "south": ["spleen"], "west": ["liver", "spleen"]}
    append = maker.append

    def joined(event: dict[str, Any]) -> None:
        append(event | ({"annotated": knows[event["site"]]} if event["event"] == "joined" else {}))

    maker.append, whole = joined, maker.metrics

    def only(skill: float, patients: int, **kwargs: Any) -> Any:
        found = whole(skill, patients, **kwargs)
        known = {4: "spleen", 3: "liver"}.get(patients)  # by its test patients, what north and south cannot judge
        return found | {key: type(value)(0) for key, value in found.items() if known and key.endswith(f".{known}")}

    maker.metrics = only
    run = whole_run(maker)
    page = (write_report(run)).read_text()
    section = page[page.index("Who annotated what") :]
    rows = re.findall(r'<tr class="\w*"><th scope="row">([\w ]+)</th>(.*?)</tr>', section)[:4]
    cells_of = {name: re.findall(r"<td[^>]*>([^<]*)</td>", cells) for name, cells in rows}
    assert cells_of == {
        "north": ["yes; scored in 4 test patients", "no"],
        "south": ["no", "yes; scored in 3 test patients"],
        "west": ["yes; scored in 2 test patients", "yes; scored in 2 test patients"],
        "In all": ["2 hospitals; scored in 6 test patients", "2 hospitals; scored in 5 test patients"],
    }
    matrix = page[page.index("Every model on every hospital") :]
    assert "north alone" in matrix


def test_who_annotated_what_is_not_shown_where_everybody_annotates_everything(make: Make, whole_run: Whole) -> None:
    assert "Who annotated what" not in write_report(whole_run(make("segmentation", "background,liver"))).read_text()


def test_every_round_shows_the_cases_used_and_left_out(make: Make) -> None:
    maker = make("segmentation", "background,tumour", sites={"a": (4, 1, 2), "b": (4, 1, 2)}, rounds=1, arms="federated")
    maker.join()
    ok = {"status": "ok", "reason": "", "weight": 3, "metrics": {}}
    sites = {"a": ok | {"used": 40, "excluded": {"LBL-EMPTY": -10}}, "b": ok | {"used": 20, "excluded": {}}}
    sites["c"] = {"status": "failed", "reason": "[SITE-ERROR] x", "weight": 0, "used": None, "excluded": {}, "metrics": {}}
    maker.append({"event": "round", "arm": "federated", "round": 1, "sites": sites, "seconds": 3, "train": {}})
    page, reader = page_of(maker.end("failed"))
    assert "1 2 of 3 60 <10 n/a" in reader.text
    assert 'title="a: 40; b: 20"' in page
    assert 'title="a: &lt;10 LBL-EMPTY"' in page


def test_a_resumed_run_shows_every_round_once_and_names_the_site_that_never_came(make: Make) -> None:
    maker = make("segmentation", "background,tumour", sites={"a": (4, 1, 2)}, rounds=2, arms="federated")
    maker.join()
    maker.append({"event": "waiting", "during": "join", "sites": ["b"], "seconds": 5})
    maker.append({"event": "absent", "site": "b", "during": "join", "reason": "[NOT-CONNECTED] x"})
    ok = {"status": "ok", "reason": "", "weight": 3, "used": 40, "excluded": {}, "metrics": {}}
    round_1 = {"event": "round", "arm": "federated", "round": 1, "seconds": 3, "train": {}, "bytes-up": 1, "bytes-down": 1}
    maker.append(round_1 | {"sites": {"a": ok}})
    lost = ok | {"status": "failed", "reason": "[NODE-LOST] x"}
    maker.append({"event": "round", "arm": "federated", "round": 2, "seconds": 3, "sites": {"a": lost}})
    maker.append({"event": "end", "status": "failed", "reason": "[QUORUM] x", "seconds": 9})
    maker.append({"event": "resume", "versions": {}})
    maker.join()
    maker.append(round_1 | {"round": 2, "sites": {"a": ok}})
    data = read_report_data(maker.end())
    assert [(done.number, done.answered) for done in data.arms["federated"].rounds] == [(1, 1), (2, 1)]
    assert [(t.site, t.status, t.reason) for t in data.rejected] == [("b", "absent", "[NOT-CONNECTED] x")]
    assert data.status == "completed"


def test_a_perfect_model_has_a_report(make: Make) -> None:
    maker = make("segmentation", "background,tumour", sites={"a": (4, 1, 2), "b": (4, 1, 2)}, rounds=2, arms="federated")
    perfect = [("p", {"tumour": CaseScore(1.0, 0.0, 1.0, missed=False, false_positive=False, present=True)})]
    maker.metrics = lambda *_, **__: segmentation_metrics(perfect, ["tumour"], 0.0)
    maker.join()
    maker.train("federated", 2, trouble=False)
    maker.test("federated", 2)
    page, reader = page_of(maker.end())
    assert "Dice on validation patients" in reader.text
    assert "This report lacks" not in page


def test_a_part_that_cannot_be_drawn_is_left_out_and_named(
    make: Make, whole_run: Whole, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError("/data/of/a/patient")

    monkeypatch.setattr("medfl.report.render.line_chart", fail)
    page, reader = page_of(whole_run(make("segmentation", "background,tumour")))
    assert "This report lacks the scores by round (ZeroDivisionError) and the training loss (ZeroDivisionError)" in reader.text
    assert "The test, hospital by hospital" in reader.text
    assert "/data/of/a/patient" not in page


def test_a_page_that_cannot_be_made_says_that_the_run_is_as_it_was(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make("segmentation", "background,tumour").end()
    monkeypatch.setattr("medfl.report.render.verdict.headlines", lambda _: 1 / 0)
    with pytest.raises(RunError, match=r"REPORT-FAILED.*ZeroDivisionError.*the run itself is as it was"):
        write_report(run)


def test_null_scores_of_the_history_are_no_obstacle(make: Make) -> None:
    maker = make("segmentation", "background,tumour", rounds=2)
    maker.join()
    nothing = {"status": "ok", "reason": "", "weight": 3, "metrics": {"train.loss": float("nan"), "eval.patients": 0}}
    maker.append(
        {"event": "round", "arm": "federated", "round": 1, "sites": {"st-anna": nothing}, "score": float("nan"), "train": {}}
    )
    maker.append(
        {"event": "test", "arm": "federated", "model": {"round": 1}, "sites": {}, "eval": {}, "derived": {"dice": None}}
    )
    _, reader = page_of(maker.end())
    assert "no hospital could score the model" in reader.text
    assert "Training loss" not in reader.text.split("Rounds")[0]


def test_codes_are_explained_and_missing_patient_ids_are_mentioned(make: Make) -> None:
    maker = make("segmentation", "background,tumour")
    maker.join()
    _, reader = page_of(maker.end("failed"))
    assert "DCM-MISSING-SLICES Slices are missing, probably from an interrupted transfer." in reader.text
    assert "north-general 3, uni-hospital 5" in reader.text
    assert "st-anna gave no patient ids: there, one image counts as one patient." in reader.text


def test_examples_are_drawn_and_damaged_ones_left_out(make: Make) -> None:
    maker = make("segmentation", "background,tumour", sites={"a": (4, 1, 2)})
    maker.previews(2)
    folder = maker.run.site_folder("a") / "previews"
    (folder / "preview-3.npz").write_bytes(b"no archive")
    np.savez(folder / "preview-4.npz", image=np.zeros((4, 4)), truth=np.zeros((4, 5)), prediction=np.zeros((4, 4)))
    np.savez(folder / "preview-5.npz", image=np.array([{"a": 1}], dtype=object), truth=np.zeros(1), prediction=np.zeros(1))
    _, reader = page_of(maker.end())
    assert reader.tags.count("img") == 6
    assert "Dice of the whole image 0.90" in reader.text


def test_a_run_that_an_earlier_version_left_has_the_same_report_and_is_listed(make: Make, whole_run: Whole) -> None:
    run = whole_run(make("segmentation", "background,tumour"))
    page, listed = page_of(run)[0], list_runs(run.parent.parent)
    record = run / "study.json"
    record.write_text(json.dumps(as_before_arms_moved(json.loads(record.read_text()))))
    assert "arms" not in json.loads(record.read_text())["study"]
    assert page_of(run)[0] == page
    assert list_runs(run.parent.parent) == listed


def test_folders_of_the_machine_stay_out(make: Make, whole_run: Whole) -> None:
    run = whole_run(make("segmentation", "background,tumour"))
    page, _ = page_of(run)
    assert "/secret/folder" not in page
    assert str(run.parent.parent) not in page


def test_writing_again_gives_the_same_file(make: Make, whole_run: Whole) -> None:
    run = whole_run(make("segmentation", "background,tumour"))
    first = write_report(run).read_bytes()
    assert write_report(run).read_bytes() == first


def test_a_folder_without_a_run_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RunError):
        write_report(tmp_path)


def test_a_report_needs_no_torch() -> None:
    code = "import sys, medfl.report; sys.exit(int('torch' in sys.modules or 'monai' in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def personal_run(
    make: Make, kind: str, classes: str, skills: dict[str, tuple[float, float]], hidden: str = "", **study: Any
) -> Path:
    """Write a run in which the shared and the personal model have these skills at each site."""
    maker = make(kind, classes, arms="federated", sites={site: (30, 5, 12 + k) for k, site in enumerate(skills)}, **study)
    maker.join()
    sites: dict[str, Any] = {}
    for site, (shared, own) in skills.items():
        tested = [maker.metrics(skill, maker.sites[site][2]) for skill in (shared, own)]
        shared_metrics, own_metrics = (suppress(m, 100 if site == hidden else 0) for m in tested)
        sites[site] = {"metrics": shared_metrics | as_personal(own_metrics)}
    merged, own = (merge(maker.study, [part(s["metrics"]) for s in sites.values()]) for part in (dict, personal_part))
    maker.append(
        {
            "event": "test",
            "arm": "federated",
            "model": {"round": 3},
            "sites": sites,
            "eval": merged,
            "personal": as_personal(own),
        }
    )
    return maker.end()


def test_the_shared_and_the_personal_models_stand_side_by_side(make: Make) -> None:
    run = personal_run(make, "segmentation", "background,tumour", {"a": (0.5, 0.8), "b": (0.9, 0.6), "c": (0.7, 0.7)})
    page, reader = page_of(run)
    data = read_report_data(run)
    pairs = zip(data.personal_tests, data.site_tests, strict=True)
    scores = [(own.derived["dice"], shared.derived["dice"]) for own, shared in pairs]
    shown = [round(own, 2) - round(shared, 2) for own, shared in scores]
    assert f"own patients: a (difference {format_difference(shown[0])}, 12 test patients), b (difference" in reader.text
    assert f"b (difference {format_difference(shown[1])}, 13 test patients) and c (difference" in reader.text
    assert "The shared model lacks the layers" not in page
    table = personal_table(data)
    assert table is not None
    assert [row.head for row in table.rows] == ["a", "b", "c", "All patients"]
    assert [cell.text for cell in table.rows[0].cells] == [
        "12",
        f"{data.site_tests[0].derived['dice']:.3f}",
        f"{data.personal_tests[0].derived['dice']:.3f}",
        format_difference(scores[0][0] - scores[0][1], 3),
    ]
    assert data.overall_personal_test is not None
    assert data.overall_personal_test.patients == 12 + 13 + 14


def test_the_report_says_that_the_shared_model_lacks_local_layers(make: Make) -> None:
    skills = dict.fromkeys("abcde", (0.4, 0.8))
    run = personal_run(make, "segmentation", "background,tumour", skills, strategy={"name": "fedbn"})
    _, reader = page_of(run)
    assert re.search(r"own patients: \+0\.\d\d to \+0\.\d\d at 5 hospitals \(70 test patients\)", reader.text)
    assert "it is scored with untrained ones instead, as a hospital that joins now would get it" in reader.text
    assert "joins the shared layers to those that stay there (norm)" in reader.text


def test_a_hospital_that_hides_its_scores_hides_them_of_both_models(make: Make) -> None:
    run = personal_run(make, "classification", "no,yes", {"a": (0.6, 0.9), "b": (0.6, 0.9)}, hidden="b")
    table = personal_table(read_report_data(run))
    assert table is not None
    assert [row.head for row in table.rows] == ["a", "b"]
    assert [cell.text for cell in table.rows[1].cells] == ["hidden", "n/a", "n/a", "n/a"]


def test_a_run_without_personal_models_does_not_mention_them(make: Make, whole_run: Whole) -> None:
    _, reader = page_of(whole_run(make("segmentation", "background,tumour")))
    assert "personal" not in reader.text.split("Every setting of the study")[0]
