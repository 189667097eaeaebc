"""A check counts right, names every quarantined case with its reason, and is stopped by nothing."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from PIL import Image

from medfl.data.cases import Case
from medfl.data.cohort import read_cohort
from medfl.data.findings import Finding
from medfl.data.index.case_records import find_cases
from medfl.data.index.file_index import FileIndex
from medfl.data.quality.case_pool import map_cases
from medfl.data.quality.facts import PERCENTILES, CaseFacts
from medfl.data.quality.site_check import check_site
from medfl.data.splits import assign_splits
from medfl.data.store.prepare import prepare_cases
from medfl.report.disclosure import preview_disclosure
from medfl.report.quality_json import check_to_json
from medfl.report.quality_report import render_quality
from medfl.site import Site
from medfl.study import Study
from tests.data.dicom.phantom import write_slices

StudyMaker = Callable[..., Study]
SiteMaker = Callable[..., Site]


@pytest.fixture
def site(volumes: Path, make_site: SiteMaker) -> Site:
    return make_site(volumes)


def test_cases_are_counted_by_reason(site: Site, make_study: StudyMaker) -> None:
    check, _ = check_site(site, make_study())
    assert check.summary() == "12 cases usable, 3 left out (1 IMG-NAN, 1 LBL-EMPTY, 1 LBL-MISSING)"
    assert [row.code for row in check.count_findings()] == ["IMG-NAN", "LBL-EMPTY", "LBL-MISSING"]


def test_a_case_is_measured(site: Site, make_study: StudyMaker) -> None:
    check, _ = check_site(site, make_study())
    case = check.usable[0]
    assert case.size == (10, 12, 6)
    assert case.spacing == pytest.approx((1, 1, 3))
    assert case.amounts == ((1, pytest.approx(40 * 3 / 1000)),)  # 40 voxels of 3 cubic millimetres, in ml
    assert len(case.intensity) == len(PERCENTILES)
    assert list(case.intensity) == sorted(case.intensity)


def test_a_quarantined_case_appears_with_its_code_and_what_to_do(site: Site, make_study: StudyMaker) -> None:
    check, _ = check_site(site, make_study())
    (finding,) = [f for case in check.left_out for f in case.findings if f.code == "IMG-NAN"]
    assert finding.case.startswith("case-")
    assert str(finding).startswith(f"[IMG-NAN] {finding.case}: 1 ")
    assert finding.fix


def test_the_policy_decides_on_the_counts_of_the_check(site: Site, make_study: StudyMaker) -> None:
    check, _ = check_site(site, make_study())
    assert check.refusal is not None
    assert check.refusal.code == "SITE-EXCLUDED"  # 3 of 15 is more than a tenth
    lenient = site.model_copy(update={"policy": site.policy.model_copy(update={"max_excluded": 0.2})})
    assert check_site(lenient, make_study())[0].refusal is None


def test_splits_are_those_of_training(site: Site, make_study: StudyMaker) -> None:
    check, study = check_site(site, make_study())
    assert study is not None
    dealt = assign_splits(read_cohort(site, study).cases, study, site.name)
    assert {case.case: case.split for case in check.usable} == {case.case: dealt[case.case] for case in check.usable}
    assert all(not case.split for case in check.left_out)


def test_fast_looks_at_headers_only(site: Site, make_study: StudyMaker) -> None:
    check, _ = check_site(site, make_study(), fast=True)
    assert check.summary() == "14 cases usable, 1 left out (1 LBL-MISSING)"
    assert check.usable[0].size == (10, 12, 6)
    assert check.usable[0].intensity == ()


def test_a_library_error_says_no_word_of_its_own(site: Site, make_study: StudyMaker, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(case: Case, *_: Any) -> None:
        raise RuntimeError("/data/CANARY^NAME/1.dcm")

    monkeypatch.setattr("medfl.data.quality.measure.load_case", fail)
    check, _ = check_site(site, make_study())
    assert check.count_exclusions() == {"CASE-UNREADABLE": 14, "LBL-MISSING": 1}
    assert "CANARY" not in str(check)


def test_a_folder_that_is_not_there_is_a_finding(tmp_path: Path, make_site: SiteMaker, make_study: StudyMaker) -> None:
    check, study = check_site(make_site(tmp_path / "CANARY"), make_study())
    assert [finding.code for finding in check.findings] == ["DATA-ROOT"]
    assert check.refusal == check.findings[0]
    assert check.summary() == "0 cases usable, 0 left out"
    assert study is not None


def test_previews_are_spread_evenly(site: Site, make_study: StudyMaker) -> None:
    check, _ = check_site(site, make_study(), previews=3)
    pictured = [k for k, case in enumerate(check.cases) if case.planes]
    assert pictured == [k for k in (0, 4, 9) if check.cases[k].usable]


@pytest.mark.slow
def test_worker_processes_give_the_same(site: Site, make_study: StudyMaker) -> None:
    alone, _ = check_site(site, make_study(), workers=1)
    together, _ = check_site(site, make_study(), workers=2)
    assert together == alone


@pytest.mark.slow
def test_a_case_that_kills_its_process_does_not_stop_the_rest() -> None:
    found = dict(map_cases(_double, [1, -1, 3, 4], _dead, workers=2))
    assert found == {0: 2, 1: 0, 2: 6, 3: 8}


def _double(number: int) -> int:
    if number < 0:
        os._exit(9)  # as a decoder does that is fed a damaged file
    return 2 * number


def _dead(number: int) -> int:
    return 0


def test_progress_is_reported_case_by_case(site: Site, make_study: StudyMaker) -> None:
    reported: list[tuple[int, int]] = []
    check_site(site, make_study(), progress=lambda done, total: reported.append((done, total)))
    assert reported == [(k, 14) for k in range(1, 15)]


def test_a_class_that_nobody_has_is_reported(site: Site, make_study: StudyMaker) -> None:
    check, _ = check_site(site, make_study(task__classes="background,organ,tumour"))
    (finding,) = check.findings
    assert finding.code == "LBL-NO-CLASS"
    assert "tumour" in finding.what


def test_facts_are_plain_enough_to_hold_no_path(site: Site, make_study: StudyMaker) -> None:
    check, _ = check_site(site, make_study(), previews=2)
    assert "CANARY" not in str(check)
    assert all(isinstance(case, CaseFacts) for case in check.cases)


def test_fast_finds_what_headers_tell_of_a_series(
    tmp_path: Path, make_site: SiteMaker, make_study: StudyMaker, write_series: Callable[..., list[Path]]
) -> None:
    series = [write_series(tmp_path / "data" / str(k), count=12, angle=float(k)) for k in range(3)]  # of different voxels
    sorted(series[2])[4].unlink()
    rows = [f"{k},{'ab'[k % 2]},p{k}" for k in range(3)]
    (tmp_path / "data" / "index.csv").write_text("\n".join(["image,label,patient", *rows]))
    site = make_site(tmp_path / "data")
    study = make_study(task__kind="classification", task__classes="a,b", task__modality="CT")
    quick, _ = check_site(site, study, fast=True)
    thorough, _ = check_site(site, study)
    assert quick.count_exclusions() == thorough.count_exclusions() == {"DCM-MISSING-SLICES": 1}
    assert [case.size for case in quick.usable] == [case.size for case in thorough.usable] == [(7, 5, 12)] * 2
    for one, other in zip(quick.usable, thorough.usable, strict=True):
        assert one.spacing == pytest.approx(other.spacing)
        assert one.device.manufacturer == other.device.manufacturer == "maker"


def test_nothing_that_identifies_a_patient_gets_into_page_or_json(
    tmp_path: Path,
    make_site: SiteMaker,
    make_study: StudyMaker,
    write_series: Callable[..., list[Path]],
    save_seg: Callable[..., Path],
) -> None:
    series = write_series(tmp_path / "CANARY-FOLDER" / "ct")
    save_seg(tmp_path / "CANARY-FOLDER" / "seg.dcm", series, {"organ": np.ones((7, 5, 8), bool)})
    write_series(tmp_path / "CANARY-FOLDER" / "lost", count=5)
    site, study = make_site(tmp_path / "CANARY-FOLDER"), make_study(task__modality="CT")
    check, _ = check_site(site, study, previews=5)
    shared = preview_disclosure(check, study, site)
    header = pydicom.dcmread(series[0])
    identities = ["CANARY", "19600101", str(tmp_path), header.SOPInstanceUID, header.SeriesInstanceUID, header.StudyInstanceUID]
    for text in (render_quality(check, shared, site), json.dumps(check_to_json(check, shared))):
        assert "DCM-" in text or "LBL-" in text
        assert [identity for identity in identities if identity in text] == []


@pytest.mark.slow
def test_ctrl_c_is_for_the_process_that_started_the_others() -> None:
    assert {blocked for _, blocked in map_cases(_deaf, [1, 2], _deaf, workers=2)} == {True}


def _deaf(_: int) -> bool:
    return signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, ())


def test_an_image_smaller_than_the_patch_is_reported_as_when_preparing(site: Site, make_study: StudyMaker) -> None:
    def padded(**more: str) -> list[Finding]:
        check, study = check_site(site, make_study(training__patch="8,8,8", **more))
        assert study is not None
        prepared = prepare_cases(site, study).findings
        reported = [f for f in check.all_findings if f.code == "PATCH-TOO-BIG"]
        assert reported == [] or set(reported) == {f for f in prepared if f.code == "PATCH-TOO-BIG"}
        return reported

    assert len(padded()) == 12
    assert padded(preprocessing__spacing="1,1,1") == []  # the voxels become 18 slices: only preparing can tell


def test_annotated_classes_are_shown_as_they_are_sent(volumes: Path, make_site: SiteMaker, make_study: StudyMaker) -> None:
    site, study = make_site(volumes, annotated_classes=("organ",)), make_study(task__classes="background,organ,lesion")
    for fast in (False, True):
        check, _ = check_site(site, study, fast=fast)
        assert "LBL-NO-CLASS" not in {finding.code for finding in check.findings}  # nobody looked for a lesion
        shared = preview_disclosure(check, study, site)
        assert shared.annotated == ("organ",)
        assert check_to_json(check, shared)["shared"]["annotated"] == ["organ"]
        assert "that only organ was looked for here" in render_quality(check, shared, site)
    whole, _ = check_site(make_site(volumes), study)
    assert "LBL-NO-CLASS" in {finding.code for finding in whole.findings}
    assert preview_disclosure(whole, study, site).annotated == ()


def test_a_patient_in_two_splits_is_named_and_costs_no_other_finding(tmp_path: Path, make_site: Any) -> None:
    root = tmp_path / "data"
    root.mkdir()
    rows = ["image,label,patient,split,annotation"]
    for n in range(4):
        Image.fromarray(np.full((8, 8), n, dtype=np.uint8)).save(root / f"{n}.png")
        rows.append(f"{n}.png,{'ab'[n % 2]},p{n // 2},{'train' if n else 'test'},x")
    (root / "index.csv").write_text("\n".join(rows))
    site = make_site(root)
    check, study = check_site(site)
    assert study
    assert "INDEX-COLUMN" in {finding.code for finding in check.findings}
    assert check.count_exclusions()["SPLIT-LEAK"] == 2
    with FileIndex(site) as index:
        records = find_cases(
            index.database, next(case.case for case in check.left_out if case.findings[0].code == "SPLIT-LEAK")
        )
        assert {(one.status, one.original) for one in records} == {("SPLIT-LEAK", "p0")}
        assert {one.split for one in find_cases(index.database, records[0].patient)} == {"test", "train"}


@pytest.mark.parametrize("layout", ["folders", "dicom"])
def test_images_without_a_label_have_the_pseudonyms_that_they_will_have(
    tmp_path: Path, make_site: SiteMaker, layout: str
) -> None:
    for n in range(4):

        def change(_: int, ds: Any, n: int = n) -> None:
            ds.PatientID, ds.IssuerOfPatientID, ds.StudyInstanceUID = f"P{n // 2}", "H", f"1.2.3.{n}"
            ds.PixelData = (np.frombuffer(ds.PixelData, "<u2") + n).tobytes()

        write_slices(tmp_path / "data" / f"exam{n}", None, change, series=f"1.2.9.{n}")
    site = make_site(tmp_path / "data", layout=layout)
    check, study = check_site(site, workers=1)
    assert study
    listed = {finding.case for finding in read_cohort(site, study).findings if finding.case}
    assert listed
    assert listed <= {case.case for case in check.cases if case.size}
    assert len({case.patient for case in check.cases}) == 2
