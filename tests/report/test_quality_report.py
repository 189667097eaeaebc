"""The report of a check: one file that shows what leaves as it is sent, and names no patient."""

from __future__ import annotations

import json
import re
import stat
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medfl.clients import joining
from medfl.data.findings import Finding
from medfl.data.quality.facts import CaseFacts, ImagingDevice, PreviewPlane, SiteCheck
from medfl.report.disclosure import Disclosure, preview_disclosure
from medfl.report.histograms import histogram
from medfl.report.quality_json import check_to_json
from medfl.report.quality_report import render_quality, write_quality_report
from medfl.report.thumbnails import draw_thumbnail
from medfl.site import Policy, Site
from medfl.study import Study
from medfl.study.task import Task

VOID = {"meta", "img", "br", "input", "line", "rect", "path", "circle"}
TASK = Task(kind="segmentation", dimension=3, modality="MR", classes=("background", "liver", "a <b>lesion</b>"))


class Tags(HTMLParser):
    """Collects every tag with its attributes, and fails where one is closed that is not open."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert tag in VOID or self.open.pop() == tag


def case(k: int, split: str = "train", *findings: Finding, planes: tuple[PreviewPlane, ...] = ()) -> CaseFacts:
    return CaseFacts(
        case=f"case-{k:010d}",
        patient=f"pat-{k:016d}",
        split=split,
        findings=findings,
        kind="dicom",
        size=(10, 20 + k % 7, 30),
        spacing=(1.0, 1.0, 2.5 + k % 3),
        intensity=(0.0, 1.0, 2.0 + k, 3.0 + k, 4.0 + k),
        amounts=((1, 2.5 + k % 5),),
        device=ImagingDevice("Maker & Sons", "Scan", 1.5),
        planes=planes,
    )


def check_of(cases: list[CaseFacts], study: str = "liver") -> SiteCheck:
    return SiteCheck("north", study, TASK, (), tuple(cases), (), True, None, False)


def study() -> Study:
    values = {
        "name": "liver",
        "rounds": 1,
        "task": {"kind": "segmentation", "dimension": 3, "modality": "MR", "classes": "background,liver,lesion"},
        "network": {"name": "unet"},
        "loss": {"name": "dice-ce"},
    }
    return Study.model_validate(values)


@pytest.fixture
def site() -> Site:
    return Site(name="north", policy=Policy(min_count=10, min_cases=2, max_excluded=0.5))


@pytest.fixture
def check() -> SiteCheck:
    spoilt = Finding("DCM-MISSING-SLICES", "case-9999999999", "2 slices are missing.", "Fetch the series again.")
    odd = Finding("CT-HU", "case-0000000003", "nothing is below 0.", "Export the original.", "warning")
    plane = PreviewPlane("axial", np.full((8, 9), 90, np.uint8), np.eye(8, 9, dtype=np.uint8))
    cases = [case(k, "train") for k in range(1, 15) if k != 3] + [case(3, "train", odd, planes=(plane,) * 3)]
    cases += [case(k, "test") for k in range(15, 18)]
    return check_of([*cases, CaseFacts("case-9999999999", findings=(spoilt,))])


@pytest.fixture
def shared(check: SiteCheck, site: Site) -> Disclosure:
    return preview_disclosure(check, study(), site)


@pytest.fixture
def page(check: SiteCheck, shared: Disclosure, site: Site) -> str:
    return render_quality(check, shared, site)


def test_the_page_is_well_formed_and_loads_nothing_from_the_network(page: str) -> None:
    tags = Tags()
    tags.feed(page)
    assert tags.open == []
    places = [value for _, found in tags.seen for name, value in found.items() if name in ("src", "href", "srcset", "action")]
    assert places
    assert all(value and value.startswith("data:image/png;base64,") for value in places)
    assert not re.search(r"https?://|@import|url\(|<link|fetch\(|XMLHttpRequest", page)


def test_a_quarantined_case_is_listed_with_code_pseudonym_and_what_to_do(page: str) -> None:
    row = page[page.index('<tr data-kind="error">') :]
    row = row[: row.index("</tr>")]
    for text in ("case-9999999999", "DCM-MISSING-SLICES", "2 slices are missing.", "Fetch the series again."):
        assert text in row


def test_headlines_count(page: str) -> None:
    values = re.findall(r'<p class="value">([^<]*)</p><p class="note">([^<]*)</p>', page)
    assert values[0] == ("17", "14 to train, 0 to validate, 3 to test")
    assert values[1] == ("1", "6% of the 18 cases found")


def test_what_would_be_shared_is_what_joining_sends(check: SiteCheck, shared: Disclosure, site: Site) -> None:
    prepared = check.to_prepared()
    assert shared.numbers == joining.patient_counts(prepared, site)
    assert shared.numbers["join.train-patients"] == 14
    assert shared.numbers["join.test-patients"] == -10  # 3: sent as fewer than 10
    assert shared.excluded == {"DCM-MISSING-SLICES": -10}
    assert joining.site_info(prepared, site)["excluded"] == "DCM-MISSING-SLICES=<10"


def test_a_warning_of_every_case_does_not_give_a_hidden_split_away(site: Site) -> None:
    def warned(k: int, split: str) -> CaseFacts:
        return case(k, split, Finding("PATCH-TOO-BIG", f"case-{k:010d}", "small.", "Nothing.", "warning"))

    few = check_of([*(warned(k, "train") for k in range(14)), *(warned(k, "test") for k in range(14, 17))])
    assert preview_disclosure(few, study(), site).warnings == {"PATCH-TOO-BIG": 14}
    many = check_of([*(warned(k, "train") for k in range(14)), *(warned(k, "test") for k in range(14, 30))])
    assert preview_disclosure(many, study(), site).warnings == {"PATCH-TOO-BIG": 30}


@pytest.mark.parametrize(("terms", "code"), [({"max_rounds": 0}, ""), ({"tasks": ("classification",)}, "[POLICY-TASK]")])
def test_the_policy_on_the_study_is_shown_before_anything_is_sent(
    terms: dict[str, Any], code: str, check: SiteCheck, site: Site
) -> None:
    policy = Policy(min_count=10, min_cases=2, max_excluded=0.5, **terms)
    assert preview_disclosure(check, study(), site.model_copy(update={"policy": policy})).declined.partition(" ")[0] == code


def test_the_page_shows_small_counts_as_the_server_reads_them(page: str) -> None:
    section = page[page.index("What would be shared") :]
    rows = dict(re.findall(r'<tr><th scope="row">(\w+)</th><td>([^<]*)</td>', section))
    assert rows == {"train": "14", "validation": "0", "test": "&lt;10"}
    assert '<th scope="row">DCM-MISSING-SLICES</th><td class="num">&lt;10</td>' in section
    assert "eval.dice.liver" in section


@pytest.mark.parametrize(
    ("terms", "words"),
    [
        ({}, "of a round only the one by which models are compared"),
        ({"scores": "exact"}, "scores leave exactly"),
        ({"scores": "none"}, "no score leaves"),
        ({"score_noise": (4.0, 1e-5)}, "Noise is added to them first"),
    ],
)
def test_the_page_says_how_scores_leave(terms: dict[str, Any], words: str, check: SiteCheck, shared: Disclosure) -> None:
    assert words in render_quality(check, shared, Site(name="north", policy=Policy(**terms)))


def test_a_site_that_declines_reads_what_the_server_would(site: Site) -> None:
    check = check_of([case(k) for k in range(4)])
    shared = preview_disclosure(check, study(), site)
    assert shared.declined == "[SITE-BELOW-MIN-COUNT] The details are in the log of the site."
    page = render_quality(check, shared, site)
    assert "Would not train" in page
    assert shared.declined in page


def test_text_of_others_is_escaped(page: str) -> None:
    assert "<b>lesion</b>" not in page
    assert "a &lt;b&gt;lesion&lt;/b&gt;" in page
    assert "Maker &amp; Sons" in page


def test_pictures_can_be_left_out(check: SiteCheck, shared: Disclosure, site: Site) -> None:
    bare = SiteCheck(**{**check.__dict__, "cases": tuple(CaseFacts(**{**c.__dict__, "planes": ()}) for c in check.cases)})
    page = render_quality(bare, shared, site)
    assert "data:image" not in page
    assert "Pictures" not in page


def test_two_thousand_cases_stay_usable(site: Site) -> None:
    check = check_of([case(k) for k in range(2000)])
    page = render_quality(check, preview_disclosure(check, study(), site), site)
    assert page.count('<tr data-kind="usable">') == 2000
    assert len(page) < 2_000_000
    assert 'data-filters="cases"' in page


def test_the_file_is_for_its_owner_only(tmp_path: Path, check: SiteCheck, shared: Disclosure, site: Site) -> None:
    path = tmp_path / "check.html"
    path.write_text("old")
    path.chmod(0o644)
    write_quality_report(path, check, shared, site)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [p.name for p in tmp_path.iterdir()] == ["check.html"]


def test_json_has_its_version_and_every_case(check: SiteCheck, shared: Disclosure) -> None:
    content = json.loads(json.dumps(check_to_json(check, shared), allow_nan=False))
    assert (content["schema"], content["version"]) == ("medfl.data-check", 1)
    assert (content["usable"], content["left-out"], content["accepted"]) == (17, 1, True)
    assert content["reasons"] == {"DCM-MISSING-SLICES": 1}
    assert content["patients-by-split"] == {"train": 14, "validation": 0, "test": 3}
    assert content["cases"][0]["classes"] == {"liver": 3.5}
    assert content["cases"][-1]["codes"] == ["DCM-MISSING-SLICES"]
    assert content["findings"][0] == {
        "code": "DCM-MISSING-SLICES",
        "level": "error",
        "case": "case-9999999999",
        "what": "2 slices are missing.",
        "fix": "Fetch the series again.",
    }


def test_a_histogram_counts_every_value() -> None:
    drawn = histogram("sizes", [1, 1, 1, 5], "mm")
    counts = [int(n) for n in re.findall(r"<title>(\d+):", drawn)]
    assert sorted(counts) == [1, 3]


def test_a_wide_range_is_drawn_on_a_logarithmic_axis() -> None:
    drawn = histogram("grey", [1, 10, 100, 1_000_000], "grey value")
    assert re.findall(r'text-anchor="middle">([^<]*)</text>', drawn)[:7] == ["1", "10", "100", "1000", "10000", "1e5", "1e6"]


def test_planes_across_few_slices_are_left_out() -> None:
    shapes = {"axial": (100, 120), "coronal": (9, 120), "sagittal": (30, 100)}
    planes = tuple(PreviewPlane(name, np.zeros(shape, np.uint8), np.zeros(shape, np.uint8)) for name, shape in shapes.items())
    assert [picture.name for picture in draw_thumbnail(case(1, planes=planes), "").pictures] == ["axial", "sagittal"]
    assert [picture.name for picture in draw_thumbnail(case(1, planes=planes[1:2] * 3), "").pictures] == ["coronal"]


def test_marked_structures_are_not_mentioned_without_labels(site: Site) -> None:
    missing = Finding("LBL-MISSING", "case-1", "the image has no label.", "Add it.")
    plane = PreviewPlane("image", np.zeros((8, 8), np.uint8), np.zeros((8, 8), np.uint8))
    bare = CaseFacts("case-1", findings=(missing,), kind="image", size=(8, 8), planes=(plane,))
    whole = Finding("LBL-MISSING", "", "1 of 1 cases have an image but no label.", "Add them.", "warning")
    check = SiteCheck("north", "", TASK, ("No study was named.",), (bare,), (whole,), True, None, False)
    page = render_quality(check, preview_disclosure(check, None, site), site)
    assert '<p class="note">1 image can be read</p>' in page
    assert "Segmentation in 3-D MR images" in page
    assert 'class="legend"' not in page
    assert "whether text is burned into it" in page
    assert '<td class="num">the site</td><td class="text">1 of 1 cases have an image but no label.</td>' in page
    assert "width:0.0%" not in page
