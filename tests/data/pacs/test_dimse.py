"""Pulls from a fake PACS that speaks DIMSE and runs in this process."""

from __future__ import annotations

import shutil
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.uid import RLELossless, generate_uid
from pynetdicom import evt, sop_class

from medfl.data.dicom.series import read_series
from medfl.data.pacs.contexts import MAX_CONTEXTS, storage_contexts
from medfl.data.pacs.pull import pull_series
from tests.data.pacs.fake_pacs import FakePacs


def names_below(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@pytest.mark.parametrize("service", ["get", "move"])
def test_complete_series_get_names_that_reveal_nothing(
    service: str, pacs: FakePacs, start: Any, pacs_site: Any, archive: Any, caplog: pytest.LogCaptureFixture
) -> None:
    move = {"move": f"127.0.0.1:{pacs.move_port}"} if service == "move" else {}
    site = pacs_site(**start(pacs), **move)
    with caplog.at_level("DEBUG"):
        pulled = pull_series(site)
    assert (pulled.found, pulled.already_present, pulled.series, pulled.images) == ((("CT", 1, 9), ("SEG", 1, 1)), 0, 2, 10)
    assert pulled.problems == ()
    series = {len(list(folder.iterdir())): sorted(folder.iterdir()) for folder in site.root.glob("study-*/series-*")}
    np.testing.assert_array_equal(read_series(series[9]).array, read_series(archive.files["new"]).array)
    names = " ".join(names_below(site.root))
    uids = [
        str(ds[key].value) for ds in archive.datasets for key in ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID")
    ]
    assert not [word for word in ("CANARY", *uids) if word in names + caplog.text]
    for path in site.root.rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path.name


def test_a_dry_run_queries_and_fetches_nothing(pacs: FakePacs, start: Any, pacs_site: Any) -> None:
    site = pacs_site(**start(pacs))
    planned = pull_series(site, dry_run=True)
    assert (planned.series, planned.images, pacs.fetches) == (2, 10, [])
    assert not site.root.exists()


def test_series_that_were_not_asked_for_are_not_fetched(pacs: FakePacs, start: Any, pacs_site: Any) -> None:
    pacs.heeds_filters = False
    assert pull_series(pacs_site(**start(pacs))).found == (("CT", 1, 9), ("SEG", 1, 1))


@pytest.mark.parametrize(("key", "prefix"), [("patients", ""), ("accessions", "ACC-")])
def test_a_list_of_numbers_is_queried_one_by_one(
    key: str, prefix: str, pacs: FakePacs, start: Any, pacs_site: Any, tmp_path: Path
) -> None:
    (tmp_path / "list.txt").write_text(f"{prefix}CANARY-2\n\n{prefix}CANARY-2\n{prefix}UNKNOWN\n")
    site = pacs_site({"modalities": "CT,MR", key: "list.txt"}, **start(pacs))
    assert pull_series(site).found == (("CT", 1, 9), ("MR", 1, 9))
    queried = [ds.PatientID or ds.AccessionNumber for ds in pacs.finds if ds.QueryRetrieveLevel == "STUDY"]
    assert queried == [f"{prefix}CANARY-2"] * 2 + [f"{prefix}UNKNOWN"] * 2  # for CT, then for MR


@pytest.mark.parametrize(("text", "message"), [("", "is empty"), ("A*\n", "contain a wildcard"), (None, "cannot be read")])
def test_a_list_that_would_match_other_patients_is_refused(
    text: str | None, message: str, pacs_site: Any, tmp_path: Path, refused: Any
) -> None:
    if text is not None:
        (tmp_path / "list.txt").write_text(text)
    site = pacs_site({"modalities": "CT", "patients": "list.txt"}, kind="dimse", host="127.0.0.1", port=1, ae_title="PACS")
    error = refused(site)
    assert (error.code, message in error.what) == ("PACS-LIST", True)


def test_series_are_chosen_by_description(pacs: FakePacs, start: Any, pacs_site: Any) -> None:
    query = {"modalities": "CT,MR", "study-dates": "20230101-20251231", "descriptions": "mr *,*thin*"}
    assert pull_series(pacs_site(query, **start(pacs))).found == (("MR", 1, 9),)


def test_a_series_with_missing_images_is_reported_and_not_kept(
    pacs: FakePacs, start: Any, pacs_site: Any, archive: Any
) -> None:
    uid = archive.datasets[0].SeriesInstanceUID
    pacs.lost[uid] = 2
    site = pacs_site(**start(pacs), retries=2)
    pulled = pull_series(site)
    (problem,) = pulled.problems
    assert (problem.code, pulled.series) == ("PACS-INCOMPLETE", 1)
    assert "7 of 9 images arrived" in problem.what
    assert pacs.fetches.count(uid) == 3
    assert [len(list(folder.iterdir())) for folder in site.root.glob("study-*/series-*")] == [1]  # the SEG
    pacs.lost.clear()
    assert pull_series(site).series == 1


@pytest.mark.parametrize("service", ["get", "move"])
def test_an_aborted_transfer_is_retried(service: str, pacs: FakePacs, start: Any, pacs_site: Any) -> None:
    pacs.aborts = 1
    move = {"move": f"127.0.0.1:{pacs.move_port}"} if service == "move" else {}
    pulled = pull_series(pacs_site(**start(pacs), **move))
    assert (pulled.series, pulled.problems) == (2, ())
    assert len(pacs.fetches) == 3


def test_ctrl_c_leaves_no_incomplete_series_and_the_next_pull_resumes(
    pacs: FakePacs, start: Any, pacs_site: Any, interrupt: Any
) -> None:
    site = pacs_site(**start(pacs), **{"max-parallel": 1})
    with pytest.raises(KeyboardInterrupt):
        pull_series(site, progress=interrupt(after=5))
    assert not list(site.root.glob("**/*.dcm")) or len(list(site.root.glob("**/*.dcm"))) == 1  # at most the SEG
    assert not (site.root / ".pull").exists()
    assert pull_series(site).problems == ()
    assert len(list(site.root.glob("**/*.dcm"))) == 10


def test_a_series_that_has_grown_in_the_pacs_is_fetched_again(pacs: FakePacs, start: Any, pacs_site: Any) -> None:
    site = pacs_site(**start(pacs))
    last = pacs.datasets.pop(8)
    assert pull_series(site).images == 9
    pacs.datasets.append(last)
    again = pull_series(site)
    assert (again.already_present, again.series, again.images) == (1, 1, 9)
    assert len(list(site.root.glob("**/*.dcm"))) == 10


def test_what_a_killed_pull_left_is_removed(pacs: FakePacs, start: Any, pacs_site: Any) -> None:
    site = pacs_site(**start(pacs))
    (site.root / ".pull" / "series-OLD").mkdir(parents=True)
    pull_series(site)
    assert not (site.root / ".pull").exists()


def test_a_full_disk_ends_the_pull(
    pacs: FakePacs, start: Any, pacs_site: Any, monkeypatch: pytest.MonkeyPatch, refused: Any
) -> None:
    def full(path: Path, content: bytes, **_: bool) -> None:
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr("medfl.data.pacs.series_download.write_file", full)
    site = pacs_site(**start(pacs))
    assert refused(site).code == "DISK-FULL"
    assert not list(site.root.glob("**/*.dcm"))


def test_two_pulls_into_one_folder_exclude_each_other(pacs: FakePacs, start: Any, pacs_site: Any, refused: Any) -> None:
    from medfl.data.pacs.series_download import download_folder

    site = pacs_site(**start(pacs))
    with download_folder(site.root):
        assert refused(site).code == "PACS-BUSY"
    assert pull_series(site).series == 2


def test_after_the_allowed_hours_no_series_is_begun(
    pacs: FakePacs, start: Any, pacs_site: Any, monkeypatch: pytest.MonkeyPatch, refused: Any
) -> None:
    site = pacs_site(**start(pacs), hours="19-06", max_parallel=1)
    answers = iter([False, True, True, False])  # one at the start, then one per series
    monkeypatch.setattr("medfl.data.pacs.pull.is_allowed", lambda hours: next(answers))
    error = refused(site)
    assert error.code == "PACS-HOURS"
    assert "19 to 06" in error.what
    pulled = pull_series(site)
    assert (pulled.series, pulled.not_started, pulled.problems) == (1, 1, ())


def test_a_wrong_ae_title_is_reported(pacs: FakePacs, start: Any, pacs_site: Any, refused: Any) -> None:
    keys = start(pacs)
    error = refused(pacs_site(**keys | {"ae-title": "OTHER"}))
    assert (error.code, "called AE title" in error.what) == ("PACS-AET", True)
    error = refused(pacs_site(**keys, calling_ae_title="UNKNOWN"))
    assert (error.code, "calling AE title" in error.what) == ("PACS-AET", True)


def test_an_unknown_destination_of_c_move_is_reported(pacs: FakePacs, start: Any, pacs_site: Any, refused: Any) -> None:
    pacs.move = _unknown_destination  # type: ignore[method-assign]
    assert refused(pacs_site(**start(pacs), move="127.0.0.1:0")).code == "PACS-AET"


def _unknown_destination(event: evt.Event) -> Iterator[Any]:
    yield None, None


def test_a_pacs_without_c_get_is_reported(pacs: FakePacs, start: Any, pacs_site: Any) -> None:
    pulled = pull_series(pacs_site(**start(pacs, models=("Find", "Move"))))
    assert {problem.code for problem in pulled.problems} == {"PACS-REFUSED"}
    assert "C-GET" in pulled.problems[0].what


def test_no_server_at_the_address(pacs_site: Any, free_port: Callable[[], int], refused: Any) -> None:
    site = pacs_site(kind="dimse", host="127.0.0.1", port=free_port(), ae_title="PACS")
    assert refused(site).code == "PACS-UNREACHABLE"


def test_a_port_in_use_is_reported(pacs: FakePacs, start: Any, pacs_site: Any, refused: Any) -> None:
    keys = start(pacs)
    assert refused(pacs_site(**keys, move=f"127.0.0.1:{keys['port']}")).code == "PACS-LISTEN"


def test_only_requested_images_are_stored(pacs: FakePacs, start: Any, pacs_site: Any) -> None:
    unrequested = pacs.datasets[-2].copy()  # another series, sent along with the requested one
    unrequested.SeriesInstanceUID, unrequested.SOPInstanceUID = generate_uid(), generate_uid()
    send = pacs._send

    def send_more(event: evt.Event) -> Iterator[Any]:
        responses = list(send(event))
        yield responses[0] + 1
        yield 0xFF00, unrequested
        yield from responses[1:]

    pacs._send = send_more  # type: ignore[method-assign]
    for move in ("", f"127.0.0.1:{pacs.move_port}"):
        site = pacs_site(**start(pacs), **({"move": move} if move else {}))
        assert pull_series(site).images == 10, move
        assert len(list(site.root.glob("**/*.dcm"))) == 10
        shutil.rmtree(site.root)


def test_without_the_extra_the_error_says_how_to_install_it(
    pacs_site: Any, monkeypatch: pytest.MonkeyPatch, refused: Any
) -> None:
    monkeypatch.setattr("medfl.data.pacs.pull.find_spec", lambda name: None)
    error = refused(pacs_site(kind="dimse", host="127.0.0.1", port=1, ae_title="PACS"))
    assert (error.code, "flwr-medfl[pacs]" in error.fix) == ("PACS-EXTRA-MISSING", True)


@pytest.mark.parametrize("modality", ["CT", "SEG", "unknown"])
def test_an_association_has_room_for_128_contexts(modality: str) -> None:
    contexts = storage_contexts(modality)
    assert len(contexts) <= MAX_CONTEXTS
    sop_classes = {context.abstract_syntax for context in contexts}
    assert {sop_class.CTImageStorage, sop_class.SegmentationStorage, sop_class.RTStructureSetStorage} <= sop_classes


def test_a_find_without_a_response_is_a_broken_connection(pacs: FakePacs, start: Any, pacs_site: Any, refused: Any) -> None:
    def broken(event: evt.Event) -> Iterator[Any]:
        event.assoc.abort()
        yield 0x0000, None

    pacs.find = broken  # type: ignore[method-assign]
    assert refused(pacs_site(**start(pacs))).code == "PACS-UNREACHABLE"


def test_compressed_images_are_kept_compressed(pacs: FakePacs, start: Any, pacs_site: Any, archive: Any) -> None:
    for ds in pacs.datasets:
        if ds.Modality == "CT":
            ds.compress(RLELossless)
    site = pacs_site({"modalities": "CT", "study-dates": "20240101-20241231"}, **start(pacs))
    assert pull_series(site).images == 9
    (series,) = site.root.glob("study-*/series-*")
    files = sorted(series.iterdir())
    assert {pydicom.dcmread(path, stop_before_pixels=True).file_meta.TransferSyntaxUID for path in files} == {RLELossless}
    np.testing.assert_array_equal(read_series(files).array, read_series(archive.files["new"]).array)
