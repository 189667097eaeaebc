"""Files that preparing opens: over a hospital's network drive each costs a round trip."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from medfl.data.cases import Source
from medfl.data.dicom import source_headers
from medfl.data.dicom.headers import KEYWORDS
from medfl.data.dicom.source_headers import read_first_header, read_source_headers
from medfl.data.index import file_index
from medfl.data.index.file_index import FileIndex
from medfl.site import Site, ensure_secret
from tests.data.dicom.drawing import sort_by_position, write_rtstruct, write_seg
from tests.data.dicom.phantom import SHAPE, write_slices
from tests.data.dicom.writing import put

# the command in a process of its own, which counts who opens what below a folder: the hash of the content, and everything else
COUNTING = """
import json, os, sys
from collections import Counter
root, report = os.path.realpath(sys.argv[1]) + os.sep, sys.argv[2]
hashing, reading = Counter(), Counter()

def note(event, arguments):
    if event == "open" and isinstance(arguments[0], (str, bytes, os.PathLike)):
        path = os.path.realpath(os.fsdecode(arguments[0]))
        if path.startswith(root) and os.path.isfile(path):
            (hashing if sys._getframe(1).f_code.co_name == "_compute_digest" else reading)[path.removeprefix(root)] += 1

sys.addaudithook(note)
from medfl.cli import app
sys.argv = ["medfl", "data", "prepare", *sys.argv[3:], "--json"]
try:
    app.main()
except SystemExit as ended:
    assert not ended.code, ended.code
with open(report, "w") as file:
    json.dump([hashing, reading], file)
"""
STUDY = """
[project]
name = "opens"
version = "1.0.0"
[tool.flwr.app]
publisher = "medfl"
[tool.flwr.app.components]
serverapp = "medfl.server_app:app"
clientapp = "medfl.client_app:app"
[tool.flwr.app.config]
name = "opens"
rounds = 1
[tool.flwr.app.config.task]
kind = "segmentation"
dimension = {dimension}
modality = "{modality}"
classes = "background,liver"
[tool.flwr.app.config.network]
name = "unet"
[tool.flwr.app.config.loss]
name = "dice-ce"
"""


def dicom(data: Path) -> None:
    """Write one patient whose label is a DICOM-SEG, and one whose label is an RTSTRUCT."""
    marked = np.zeros((*SHAPE[::-1], 10), dtype=np.uint8)
    marked[3:6, 3:6, 2:6] = 1
    seg = write_slices(data / "one", change=put(PatientID="1"))
    write_seg(data / "one" / "seg.dcm", seg, {"liver": marked})
    drawn = write_slices(data / "two", change=put(PatientID="2", StudyInstanceUID="1.2.4"))
    contours = []
    for image in sort_by_position(drawn)[2:6]:
        x, y, z = map(float, image.ImagePositionPatient)
        step_y, step_x = map(float, image.PixelSpacing)
        corners = [(x + i * step_x, y + j * step_y, z) for i, j in ((2, 2), (6, 2), (6, 6), (2, 6))]
        contours.append((np.array(corners), image))
    write_rtstruct(data / "two" / "rt.dcm", drawn, {"liver": contours})


def nifti(data: Path, save_nifti: Callable[..., Path]) -> None:
    """Write one patient compressed, and one not."""
    mask = np.zeros((8, 9, 10), np.uint8)
    mask[2:5, 2:5, 2:5] = 1
    for name in ("a.nii", "b.nii.gz"):
        save_nifti(data / f"image-{name}", np.random.default_rng(1).normal(100, 10, mask.shape).astype(np.float32), np.eye(4))
        save_nifti(data / f"label-{name}", mask, np.eye(4))
    rows = [f"image-{name},label-{name},{name}" for name in ("a.nii", "b.nii.gz")]
    (data / "index.csv").write_text("\n".join(["image,label,patient", *rows]))


def pictures(data: Path) -> None:
    """Write two patients, whose pictures differ in size: what is of one size is looked at to find copies."""
    mask = np.zeros((16, 17), np.uint8)
    mask[4:8, 4:8] = 1
    for seed, name in enumerate(("a.png", "b.png")):
        Image.fromarray(np.random.default_rng(seed).integers(0, 255, (16, 16 + seed), dtype=np.uint8)).save(
            data / f"image-{name}"
        )
        Image.fromarray(mask[:, : 16 + seed]).save(data / f"label-{name}")
    rows = [f"image-{name},label-{name},{name}" for name in ("a.png", "b.png")]
    (data / "index.csv").write_text("\n".join(["image,label,patient", *rows]))


def prepare(site: Path, study: Path, report: Path) -> tuple[dict[str, int], dict[str, int]]:
    """Return how often each file was opened to be hashed, and otherwise, by its name below the data folder."""
    arguments = [site / "data", report, site, study]
    done = subprocess.run([sys.executable, "-c", COUNTING, *map(str, arguments)], check=True, capture_output=True, text=True)
    assert json.loads(done.stdout)["usable"] == 2, done.stdout
    hashing, reading = json.loads(report.read_text())
    return hashing, reading


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["dicom", "nifti", "pictures"])
def test_a_file_is_opened_twice_besides_its_hash_and_never_again(
    tmp_path: Path, kind: str, save_nifti: Callable[..., Path]
) -> None:
    data, study = tmp_path / "north" / "data", tmp_path / "study"
    for folder in (data, study):
        folder.mkdir(parents=True)
    if kind == "nifti":
        nifti(data, save_nifti)
    else:
        {"dicom": dicom, "pictures": pictures}[kind](data)
    modality = {"dicom": "CT", "nifti": "MR", "pictures": "XR"}[kind]
    (study / "pyproject.toml").write_text(STUDY.format(dimension=2 if kind == "pictures" else 3, modality=modality))
    (data.parent / "site.toml").write_text('name = "north"\n[data]\nroot = "data"\n[policy]\nmin-count = 0\nmin-cases = 1\n')
    ensure_secret(data.parent / "site.secret")
    time.sleep(2.1)  # what is known of younger files is not relied on
    images = {os.fspath(path.relative_to(data)) for path in data.rglob("*") if path.is_file()} - {"index.csv"}
    hashing, reading = prepare(data.parent, study, tmp_path / "first.json")
    assert hashing == dict.fromkeys(images, 1)
    assert {name for name in images if not 1 <= reading[name] <= 2} == set(), reading
    hashing, reading = prepare(data.parent, study, tmp_path / "second.json")
    assert hashing == {}
    assert set(reading) <= {"index.csv"}


def indexed(site: Site, paths: list[Path]) -> Source:
    with FileIndex(site) as index:
        return Source.of_files([file for path in paths if (file := index.get(path))])


def test_headers_of_the_index_count_until_a_file_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_site: Callable[..., Site]
) -> None:
    data = tmp_path / "data"
    paths = write_slices(data, change=put(PatientID="1"))
    monkeypatch.setattr(file_index, "_SETTLED", 0)
    source = indexed(make_site(data), paths)
    read: list[Path] = []

    def reading(path: Path, **options: Any) -> Any:
        read.append(path)
        return original(path, **options)

    original = source_headers.read_header
    monkeypatch.setattr(source_headers, "read_header", reading)
    fresh = [original(path) for path in paths]
    held = read_source_headers(source)
    assert read == []
    for keyword in KEYWORDS:
        assert [header.text(keyword) for header in held] == [header.text(keyword) for header in fresh if header]
    write_slices(tmp_path / "other", change=put(PatientID="2"))[0].replace(paths[0])
    changed = read_source_headers(source)
    assert read == [paths[0]]
    assert [header.text("PatientID") for header in changed] == ["2", *["1"] * (len(paths) - 1)]
    paths[0].unlink()
    assert read_first_header(source) is None


def test_headers_of_files_that_are_too_young_to_show_a_change_are_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_site: Callable[..., Site]
) -> None:
    monkeypatch.setattr(file_index, "_SETTLED", 10**15)
    source = indexed(make_site(tmp_path / "data"), write_slices(tmp_path / "data"))
    assert all(file.stamp is None and file.has_changed() for file in source.files)
