"""What is wrong with a hospital's data or disk ends in a code and a way out, and never in something half-written."""

from __future__ import annotations

import errno
import gzip
import os
import re
import resource
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import typer

from medfl.cli import app as cli
from medfl.cli.running import run_and_report
from medfl.data.cases import Finding
from medfl.data.store import shelf as shelf_module
from medfl.data.store.prepare import prepare
from medfl.data.store.stored import Prepared
from medfl.errors import DataError, DiskFullError, MedflError, QuorumError, RunError
from medfl.runs import checkpoint
from medfl.runs.durable import pending
from medfl.runs.history import read
from medfl.simulation.simulate import plan_simulation
from medfl.site import Policy, Resources, Site, ensure_secret
from medfl.study import Study, read_study

STUDY = """
[project]
name = "rough"
version = "1.0.0"
[tool.flwr.app]
publisher = "medfl"
[tool.flwr.app.components]
serverapp = "medfl.server_app:app"
clientapp = "medfl.client_app:app"
[tool.flwr.app.config]
name = "rough"
rounds = 1
task = {kind = "segmentation", dimension = 3, modality = "MR", classes = "background,a,b"}
network = {name = "unet", channels = "4,8", residual-units = 0}
loss = {name = "dice-ce"}
"""
SHAPE = (16, 16, 8)
Spoil = Callable[[Path], object]


@pytest.fixture
def study_folder(tmp_path: Path) -> Path:
    (tmp_path / "study").mkdir()
    (tmp_path / "study" / "pyproject.toml").write_text(STUDY)
    return tmp_path / "study"


@pytest.fixture
def study(study_folder: Path) -> Study:
    return read_study(study_folder)


def save(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nibabel.Nifti1Image(array, np.eye(4))
    image.set_sform(np.eye(4), 1)
    image.set_qform(np.eye(4), 1)
    nibabel.save(image, path)


def image_of(number: int, shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    return np.random.default_rng(number).normal(100, 10, shape).astype(np.float32)


def mask_of(shape: tuple[int, ...] = SHAPE, classes: int = 2) -> np.ndarray:
    mask = np.zeros(shape, np.uint8)
    for value in range(1, classes + 1):
        mask[4 * value : 4 * value + 3, 4:9, 2:6] = value
    return mask


def fill(folder: Path, patients: int, classes: int = 2, shape: tuple[int, ...] = SHAPE) -> Path:
    """Make a hospital with one folder a patient."""
    (folder / "data").mkdir(parents=True)
    for number in range(patients):
        save(folder / "data" / f"DOE_{number}" / "image.nii.gz", image_of(number, shape))
        save(folder / "data" / f"DOE_{number}" / "label.nii.gz", mask_of(shape, classes))
    (folder / "site.toml").write_text(
        f'name = "{folder.name}"\n[data]\nroot = "data"\n[policy]\nmin-count = 0\nmin-cases = 1\nmax-excluded = 0.5\n'
    )
    return folder


def site_of(folder: Path, store: str = "store", **policy: Any) -> Site:
    ensure_secret(folder / "site.secret")
    rules = Policy(**{"min_count": 0, "min_cases": 1, "max_excluded": 0.5} | policy)
    resources = Resources(store=str(folder.parent / store))
    return Site(
        name="north", folder=folder / "data", secret_file=str(folder / "site.secret"), policy=rules, resources=resources
    )


def bits(prepared: Prepared) -> dict[str, tuple[str, bytes, bytes]]:
    return {c.name: (c.patient, c.image.tobytes(), np.asarray(c.label).tobytes()) for c in prepared.cases}


def leftovers(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if ".tmp" in path.name]


def check_words(told: Finding | MedflError, tmp_path: Path) -> None:
    """A message is made of sentences that say what to do, and names no file."""
    assert told.what.endswith((".", ")."))
    assert told.fix.endswith(".")
    assert "Nothing to do" not in told.fix
    for word in (str(tmp_path), "DOE", ".nii", "/data"):
        assert word not in str(told)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def with_nan(folder: Path) -> None:
    values = image_of(3)
    values[5, 5, 5] = np.nan
    save(folder / "image.nii.gz", values)


def broken_link(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.parent / "annex" / "gone.nii.gz")


BAD: dict[str, tuple[Spoil, str]] = {
    "an image without a label": (lambda p: (p / "label.nii.gz").unlink(), "LBL-MISSING"),
    "a label without an image": (lambda p: (p / "image.nii.gz").unlink(), "IMG-MISSING"),
    "a folder without images": (lambda p: shutil.rmtree(p) or p.mkdir(), "IMG-MISSING"),
    "a link to an image that is not there": (lambda p: broken_link(p / "image.nii.gz"), "IMG-MISSING"),
    "a link to a label that is not there": (lambda p: broken_link(p / "label.nii.gz"), "LBL-MISSING"),
    "a mask of another shape": (lambda p: save(p / "label.nii.gz", mask_of((16, 16, 9))), "LBL-GEOMETRY"),
    "an unknown label value": (lambda p: save(p / "label.nii.gz", mask_of() * np.uint8(7)), "LBL-VALUES"),
    "an empty mask": (lambda p: save(p / "label.nii.gz", mask_of() * np.uint8(0)), "LBL-EMPTY"),
    "a truncated image": (lambda p: cut(p / "image.nii.gz"), "NII-TRUNCATED"),
    "a truncated label": (lambda p: cut(p / "label.nii.gz"), "NII-TRUNCATED"),
    "an empty file": (lambda p: (p / "image.nii.gz").write_bytes(b""), "NII-TRUNCATED"),
    "a file that is no image": (lambda p: (p / "image.nii.gz").write_bytes(gzip.compress(b"no image" * 99)), "NII-FORMAT"),
    "a voxel that is no number": (with_nan, "IMG-NAN"),
    "an image of one value": (lambda p: save(p / "image.nii.gz", np.ones(SHAPE, np.float32)), "IMG-CONST"),
    "a single slice": (lambda p: save(p / "image.nii.gz", image_of(3)[..., 0]), "IMG-DIMENSION"),
    "a time series": (lambda p: save(p / "image.nii.gz", np.stack([image_of(k) for k in range(3)], -1)), "NII-4D"),
}


@pytest.mark.parametrize("what", BAD)
def test_a_bad_case_is_left_out_with_its_code_and_harms_no_other(what: str, study: Study, tmp_path: Path) -> None:
    folder = fill(tmp_path / "north", 5)
    clean = bits(prepare(site_of(folder, "clean"), study))
    spoil, code = BAD[what]
    patient = folder / "data" / "DOE_3"
    shutil.copytree(patient, tmp_path / "good")
    spoil(patient)
    for _ in range(2):  # the second start takes it from the store
        prepared = prepare(site_of(folder), study)
        errors = [finding for finding in prepared.findings if finding.level == "error"]
        assert [finding.code for finding in errors] == [code]
        check_words(errors[0], tmp_path)
        assert len(prepared.cases) == 4
        assert bits(prepared).items() < clean.items()
    shutil.rmtree(patient)
    (tmp_path / "good").rename(patient)
    assert bits(prepare(site_of(folder), study)) == clean


def test_an_empty_data_folder_is_told_as_such(study: Study, tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        prepare(site_of(fill(tmp_path / "north", 0)), study)
    assert caught.value.code == "DATA-EMPTY"
    check_words(caught.value, tmp_path)


def test_a_data_folder_that_is_not_there_is_told_as_such(study: Study, tmp_path: Path) -> None:
    folder = fill(tmp_path / "north", 0)
    site = site_of(folder)
    (folder / "data").rmdir()
    with pytest.raises(DataError) as caught:
        prepare(site, study)
    assert caught.value.code == "DATA-ROOT"
    check_words(caught.value, tmp_path)


def test_one_patient_trains_and_the_site_says_that_nobody_is_left_to_test_with(study: Study, tmp_path: Path) -> None:
    folder = fill(tmp_path / "north", 1)
    prepared = prepare(site_of(folder), study)
    assert [(finding.code, finding.level) for finding in prepared.findings] == [("SITE-ONE-PATIENT", "warning")]
    check_words(prepared.findings[0], tmp_path)
    assert [case.split for case in prepared.cases] == ["train"]
    with pytest.raises(DataError) as caught:
        prepare(site_of(folder, min_cases=2), study)
    assert caught.value.code == "SITE-TOO-SMALL"
    check_words(caught.value, tmp_path)


def test_a_class_that_the_site_lacks_is_a_warning(study: Study, tmp_path: Path) -> None:
    prepared = prepare(site_of(fill(tmp_path / "north", 4, classes=1)), study)
    assert [(finding.code, finding.level) for finding in prepared.findings] == [("LBL-NO-CLASS", "warning")]
    assert "has: b." in prepared.findings[0].what
    check_words(prepared.findings[0], tmp_path)
    assert len(prepared.cases) == 4


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
@pytest.mark.parametrize("files", [0, 1, 7])
def test_a_disk_that_fills_up_stops_and_the_next_start_is_as_if_it_had_not(
    number: int, files: int, study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = fill(tmp_path / "north", 4)
    clean = bits(prepare(site_of(folder, "clean"), study))
    write, written = shelf_module._write_array, Counter[str]()

    def filling(path: Path, array: np.ndarray) -> Any:
        if written.total() >= files:
            path.write_bytes(array.tobytes()[: array.nbytes // 2])
            raise OSError(number, os.strerror(number), str(path))
        written[path.name] += 1
        return write(path, array)

    with monkeypatch.context() as patch:
        patch.setattr(shelf_module, "_write_array", filling)
        with pytest.raises(DiskFullError) as caught:
            prepare(site_of(folder), study)
    assert caught.value.code == "DISK-FULL"
    check_words(caught.value, tmp_path)
    assert leftovers(tmp_path / "store") == []
    prepared = prepare(site_of(folder), study)
    assert prepared.findings == ()
    assert bits(prepared) == clean


def test_the_systems_own_refusal_to_write_more_is_told_as_a_full_disk(study: Study, tmp_path: Path) -> None:
    folder = fill(tmp_path / "north", 4)
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, old[1]))
    try:
        with pytest.raises(DiskFullError) as caught:
            prepare(site_of(folder), study)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
    assert "perhaps for a quota" in caught.value.what
    check_words(caught.value, tmp_path)
    assert leftovers(tmp_path / "store") == []
    assert bits(prepare(site_of(folder), study)) == bits(prepare(site_of(folder, "clean"), study))


def test_hospitals_of_every_kind_in_one_run(study_folder: Path, tmp_path: Path) -> None:
    hospitals = tmp_path / "hospitals"
    fill(hospitals / "good", 5)
    fill(hospitals / "empty", 0)
    fill(hospitals / "lone", 1)
    fill(hospitals / "lacking", 4, classes=1)
    cut(fill(hospitals / "rough", 4) / "data" / "DOE_1" / "image.nii.gz")
    for patient in sorted((fill(hospitals / "bad", 4) / "data").iterdir())[:3]:
        cut(patient / "label.nii.gz")
    simulation = plan_simulation(study_folder, [hospitals], tmp_path / "runs")
    simulation.start(workers=2)
    events = read(simulation.run)
    assert events[-1]["status"] == "completed"
    reasons = sorted(event["reason"].split()[0] for event in events if event["event"] == "failed")
    assert reasons == ["[DATA-EMPTY]", "[SITE-EXCLUDED]"]
    joined = {event["site"]: event for event in events if event["event"] == "joined"}
    assert {site: event["excluded"] for site, event in joined.items()} == {
        "good": {},
        "lone": {},
        "lacking": {},
        "rough": {"NII-TRUNCATED": 1},
    }
    assert joined["lone"]["warnings"] == {"SITE-ONE-PATIENT": 1}
    assert joined["lacking"]["warnings"] == {"LBL-NO-CLASS": 1}
    assert (joined["lone"]["train"], joined["lone"]["test"]) == (1, 0)
    (test,) = [event for event in events if event["event"] == "test"]
    assert test["eval"]["eval.patients"] == sum(event["test"] for event in joined.values())


def final(run: Path) -> dict[str, bytes]:
    return {name: np.asarray(array).tobytes() for name, array in checkpoint.load(run, "final").arrays.items()}


@pytest.mark.slow
def test_a_run_on_a_full_disk_says_so_and_the_next_one_is_as_if_it_had_not_been(study_folder: Path, tmp_path: Path) -> None:
    shape = (32, 32, 24)  # 96 KiB an image, more than a process may write below
    hospitals = fill(tmp_path / "hospitals" / "north", 4, shape=shape).parent

    def start(name: str, **options: Any) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "medfl", "simulate", str(study_folder), "--data", str(hospitals), "--workers", "1"]
        command += ["--out", str(tmp_path / name)]
        return subprocess.run(command, capture_output=True, text=True, timeout=300, **options)

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (65536, 65536))

    failed = start("failed", preexec_fn=limit)
    assert failed.returncode == 1
    assert "Traceback" not in failed.stderr
    assert "[DISK-FULL]" in failed.stderr
    assert "[TOO-FEW-SITES]" in failed.stderr
    (run,) = (tmp_path / "failed" / "rough").iterdir()
    assert [e["reason"].split()[0] for e in read(run) if e["event"] == "failed"] == ["[DISK-FULL]"]
    assert read(run)[-1]["status"] == "failed"
    assert leftovers(tmp_path / "store") == leftovers(run) == []
    runs = []
    for name, store in (("again", tmp_path / "store"), ("clean", tmp_path / "clean-store")):
        done = start(name, env=os.environ | {"MEDFL_STORE": str(store)})
        assert done.returncode == 0, done.stderr
        runs += (tmp_path / name / "rough").iterdir()
    assert final(runs[0]) == final(runs[1])


def test_no_room_for_a_checkpoint_ends_the_run_with_a_code_and_no_half_checkpoint(
    study_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, content: bytes) -> None:
        pending(path).write_bytes(content[:10])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    hospitals = fill(tmp_path / "hospitals" / "north", 4).parent
    simulation = plan_simulation(study_folder, [hospitals], tmp_path / "runs")
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "write_pending", full)
        with pytest.raises(RunError) as caught:
            simulation.start(workers=1)
    assert caught.value.code == "DISK-FULL"
    check_words(caught.value, tmp_path)
    assert read(simulation.run)[-1]["status"] == "failed"
    assert read(simulation.run)[-1]["reason"].startswith("[DISK-FULL]")
    assert checkpoint.names(simulation.run / "checkpoints") == []


def test_too_few_hospitals_say_where_the_reasons_are_even_when_the_report_fails_too(
    study_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: Path) -> Path:
        raise RunError("DISK-FULL", "there is no room left on the disk to write the report.")

    monkeypatch.setattr("medfl.report.write_report", fail)
    hospitals = fill(tmp_path / "hospitals" / "north", 0).parent
    with pytest.raises(QuorumError) as caught:
        run_and_report(plan_simulation(study_folder, [hospitals], tmp_path / "runs"), "embedded", 1, quiet=True)
    assert caught.value.code == "TOO-FEW-SITES"
    check_words(caught.value, tmp_path)


@pytest.mark.parametrize("where", ["runs", "runs/rough"])
def test_a_place_for_runs_that_is_a_file_is_told_on_the_command_line(
    where: str, study_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    hospitals = fill(tmp_path / "hospitals" / "north", 4).parent
    (tmp_path / where).parent.mkdir(exist_ok=True)
    (tmp_path / where).write_text("a file stands where the folder should be")
    command = [
        "medfl",
        "simulate",
        str(study_folder),
        "--data",
        str(hospitals),
        "--out",
        str(tmp_path / "runs"),
        "--workers",
        "1",
    ]
    monkeypatch.setattr(sys, "argv", command)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == cli.EXIT_FAILED
    told = capsys.readouterr().err
    assert "[RUN-FOLDER]" in told
    assert "Choose a folder that you may write to." in " ".join(told.split())
    assert "Traceback" not in told


def test_a_missing_secret_is_told(study: Study, tmp_path: Path) -> None:
    folder = fill(tmp_path / "north", 4)
    site = site_of(folder)
    (folder / "site.secret").unlink()
    with pytest.raises(DataError) as caught:
        prepare(site, study)
    assert caught.value.code == "SITE-SECRET"
    check_words(caught.value, tmp_path)


def test_every_command_that_an_error_advises_exists() -> None:
    package = Path(cli.__file__).parents[1]
    files = [path for folder in (package, package / "strategies", package / "clients") for path in folder.rglob("*.py")]
    advised = {m[1] for path in files for m in re.finditer(r"'medfl ([a-z]+(?: [a-z]+)?)", path.read_text(encoding="utf-8"))}
    assert len(advised) >= 3
    for command in advised:
        node: Any = typer.main.get_command(cli.app)
        for word in command.split():
            assert word in node.commands, command
            node = node.commands[word]


def test_a_store_that_is_a_file_is_told(study: Study, tmp_path: Path) -> None:
    folder = fill(tmp_path / "north", 4)
    (tmp_path / "store").write_text("")
    with pytest.raises(DataError) as caught:
        prepare(site_of(folder), study)
    assert caught.value.code == "STORE-UNWRITABLE"
    check_words(caught.value, tmp_path)
