"""What a report says of what was used, left out and hidden, by hospital."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from medfl.metrics import merge
from medfl.privacy.suppression import suppress
from medfl.report import write_report
from tests.report.pages import page_of

Make = Callable[..., Any]
Whole = Callable[[Any], Path]


def test_what_a_policy_hides_reads_hidden_and_what_is_not_defined_na(make: Make) -> None:
    maker = make(
        "classification", "normal,pneumonia", sites={"big": (40, 6, 20), "few": (9, 2, 3), "one": (9, 2, 1), "no": (9, 2, 0)}
    )
    maker.join()
    maker.test("federated", 1)
    rewrite(maker, {"few": 5, "big": 5})
    _, reader = page_of(maker.end())
    table = reader.text.split("The test, hospital by hospital")[1]
    assert "few hidden hidden hidden" in table
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
    assert "1 2 of 3 50 %, a 60 <10 n/a" in reader.text
    assert 'title="a: 40; b: 20"' in page
    assert 'title="a: &lt;10 LBL-EMPTY"' in page


def test_codes_are_explained_and_missing_patient_ids_are_mentioned(make: Make) -> None:
    maker = make("segmentation", "background,tumour")
    maker.join()
    _, reader = page_of(maker.end("failed"))
    assert "DCM-MISSING-SLICES Slices are missing, probably from an interrupted transfer." in reader.text
    assert "north-general 3, uni-hospital 5" in reader.text
    assert "st-anna gave no patient ids: there, one image counts as one patient." in reader.text
