"""`medfl predict --send` as somebody types it: what goes to the PACS, what is said of it, and when nothing is sent."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pydicom
import pytest
import tomli_w
from pynetdicom import sop_class
from typer.testing import CliRunner, Result

from medfl.cli.app import app
from medfl.clients.networks.arrays import get_arrays
from medfl.clients.networks.network_builders import build_network
from medfl.data import mask_formats
from medfl.errors import DataError
from medfl.runs.model_file import model_file_bytes
from medfl.system.ports import find_free_port
from medfl.testing.sites import make_study
from tests.data.dicom.phantom import write_slices
from tests.data.pacs.fake_pacs import FakePacs, serve

STUDY = make_study(dimension=3, training={"patch": "8,8,8"}, task={"modality": "CT"})


@dataclass
class Hospital:
    """Images, a model, and a PACS that runs."""

    folder: Path
    pacs: FakePacs

    def predict(self, *words: Any) -> Result:
        out = ["--out", str(self.folder / "out")]
        command = ["predict", str(self.folder / "model.safetensors"), str(self.folder / "images"), *out, *map(str, words)]
        return CliRunner().invoke(app, command)

    def send(self, *words: Any) -> Result:
        return self.predict("--send", self.folder / "site.toml", *words)


@pytest.fixture
def hospital(tmp_path: Path) -> Iterator[Hospital]:
    for number in range(2):
        write_slices(tmp_path / "images" / f"CANARY-{number}")
    arrays = get_arrays(build_network(STUDY))
    (tmp_path / "model.safetensors").write_bytes(model_file_bytes(STUDY, arrays, {"arm": "federated", "site": "", "round": 1}))
    port = find_free_port()
    pacs = {"kind": "dimse", "host": "127.0.0.1", "port": port, "ae-title": "PACS", "retries": 0, "timeout": 5}
    (tmp_path / "site.toml").write_text(tomli_w.dumps({"name": "north", "pacs": pacs}))
    fake = FakePacs([], 0)
    ae = serve(fake, port)
    yield Hospital(tmp_path, fake)
    ae.shutdown()


def test_each_mask_is_stored_as_a_segmentation_of_the_same_study(hospital: Hospital) -> None:
    done = hospital.send()
    assert done.exit_code == 0, done.output
    assert "The PACS stored 2 of 2 DICOM files." in done.output
    assert "CANARY" not in done.output
    images = {ds.StudyInstanceUID for ds in map(pydicom.dcmread, (hospital.folder / "images").rglob("*.dcm"))}
    assert {ds.StudyInstanceUID for ds in hospital.pacs.stored} == images
    assert {ds.SOPClassUID for ds in hospital.pacs.stored} == {sop_class.SegmentationStorage}  # type: ignore[attr-defined]
    hospital.send()
    assert len({ds.SOPInstanceUID for ds in hospital.pacs.stored}) == 2  # sent twice, and still the same objects


def test_without_being_asked_for_nothing_is_sent(hospital: Hospital) -> None:
    assert hospital.predict().exit_code == 0
    tried = hospital.send("--dry-run")
    assert (tried.exit_code, "2 DICOM files would be sent to the PACS (dimse), and none was" in tried.output) == (0, True)
    assert hospital.pacs.stored == []


def test_what_was_not_stored_is_named_by_its_pseudonym_and_a_code(hospital: Hospital) -> None:
    hospital.pacs.store_answers = [0, 0xA900]
    done = hospital.send("--json")
    assert done.exit_code == 1
    sent = json.loads(done.stdout)["sent"]
    assert [(one["stored"], one["code"]) for one in sent] == [(True, ""), (False, "PACS-NOT-STORED")]
    assert sent[1]["file"] in done.stderr
    assert "status 0xA900" in done.stderr
    assert "CANARY" not in done.output


def test_nothing_is_sent_when_a_prediction_could_not_be_written(hospital: Hospital, monkeypatch: pytest.MonkeyPatch) -> None:
    write, calls = mask_formats.write_seg, list[int]()

    def fail_once(*values: Any, **how: Any) -> None:
        calls.append(1)
        if len(calls) == 1:
            raise DataError("PRED-SEG", "the source images cannot carry a segmentation.", "Write NIfTI.")
        write(*values, **how)

    monkeypatch.setattr(mask_formats, "write_seg", fail_once)
    done = hospital.send()
    assert (done.exit_code, len(calls)) == (1, 2)
    again = hospital.send()
    assert (again.exit_code, len(calls)) == (1, 2)
    assert all("PACS-OBJECT" in str(one.exception) for one in (done, again))
    assert hospital.pacs.stored == []


def test_masks_that_are_no_dicom_are_not_sent(hospital: Hospital) -> None:
    done = hospital.send("--masks", "nifti")
    assert isinstance(done.exception, DataError)
    assert done.exception.code == "PACS-OBJECT"
    assert hospital.pacs.stored == []


def test_a_site_without_a_pacs_is_refused_before_the_work(hospital: Hospital) -> None:
    (hospital.folder / "site.toml").write_text('name = "north"\n')
    done = hospital.send()
    assert "pacs" in str(done.exception)
    assert not (hospital.folder / "out").exists()
    assert hospital.predict("--dry-run").exit_code == 2
