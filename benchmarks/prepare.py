"""Preparing a CT of 512 x 512 x 600 voxels: peak memory in float32 volumes, and speed against reading alone.

Run ``python benchmarks/prepare.py [--quick]``. Each measurement is a new process with all code imported, the files in the page
cache, and memory that was used before. Memory is the highest resident size above that of the process before the case was
touched, over the bytes of one float32 volume (600 MiB). Speed is the time of reading and checking the case with medfl's reader,
over that of preparing it: hashing, reading, normalising, writing and syncing. Budgets: 3 volumes without resampling, 6 with;
speed 0.8.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from medfl.site import Policy, Resources, Site, SiteData, ensure_secret
from medfl.study import Study

SHAPE, QUICK = (512, 512, 600), (512, 512, 120)
SPACING = (0.7, 0.7, 1.0)
PLAIN = {"intensity": "standardize", "window": "-160,240", "mean": 80.0, "std": 40.0, "dtype": "float16"}
RESAMPLED = PLAIN | {"spacing": "0.72,0.72,1.02"}


def study(**preprocessing: Any) -> Study:
    """Return a study of CT volumes."""
    return Study.model_validate(
        {
            "name": "bench",
            "rounds": 1,
            "task": {"kind": "segmentation", "dimension": 3, "modality": "CT", "classes": "background,a"},
            "network": {"name": "unet"},
            "loss": {"name": "dice-ce"},
            "preprocessing": preprocessing,
        }
    )


def site_of(folder: Path, image: str, store: str) -> Site:
    """Return the hospital that has one image; its index is written."""
    (folder / f"{image}.csv").write_text(f"image,label,patient\n{image},seg.nii.gz,p\n")
    ensure_secret(folder / "site.secret")
    data = SiteData(layout="csv", index=f"{image}.csv")
    policy = Policy(max_excluded=0.0)
    return Site(name="bench", folder=folder, data=data, policy=policy, resources=Resources(store=str(folder / store)))


def make(folder: Path, shape: tuple[int, ...]) -> None:
    """Write one volume, smooth with noise as a CT is, as NIfTI and as DICOM series, and its mask."""
    rng = np.random.default_rng(0)
    wave = [np.cos(np.linspace(-3, 3, side)) for side in shape]
    volume = (wave[0][:, None, None] * wave[1][:, None] * wave[2] * 900).astype(np.int16)
    volume += rng.integers(-20, 20, shape, np.int16)
    affine = np.diag([-SPACING[0], -SPACING[1], SPACING[2], 1.0])  # RAS+: DICOM's own axes run to the left and the back
    for name, values in (("img.nii", volume), ("img.nii.gz", volume), ("seg.nii.gz", (volume > 500).astype(np.uint8))):
        image = nib.Nifti1Image(values, affine)
        image.header.set_xyzt_units("mm")
        image.set_sform(affine, 1)
        image.set_qform(affine, 1)
        nib.save(image, folder / name)
    (folder / "series").mkdir()
    uids = [generate_uid() for _ in range(3)]
    for k in range(shape[2]):
        _slice(uids, k, volume[:, :, k]).save_as(folder / "series" / f"{k:04d}.dcm", enforce_file_format=True)


def _slice(uids: list[str], k: int, values: Any) -> FileDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID = CTImageStorage, ExplicitVRLittleEndian
    meta.MediaStorageSOPInstanceUID = f"{uids[1][:58]}.{k + 1}"
    ds = FileDataset("", {}, file_meta=meta, preamble=bytes(128))
    ds.SOPClassUID, ds.SOPInstanceUID = CTImageStorage, meta.MediaStorageSOPInstanceUID
    ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.FrameOfReferenceUID = uids
    ds.PatientID, ds.PatientName, ds.PatientBirthDate, ds.PatientSex = "p", "made^up", "", "O"
    ds.StudyDate = ds.StudyTime = ds.AccessionNumber = ds.StudyID = ds.ReferringPhysicianName = ""
    ds.Modality, ds.ImageType, ds.Manufacturer = "CT", ["ORIGINAL", "PRIMARY", "AXIAL"], "maker"
    ds.InstanceNumber, ds.SeriesNumber = k + 1, 1
    ds.ImagePositionPatient, ds.ImageOrientationPatient = [0.0, 0.0, k * SPACING[2]], [1, 0, 0, 0, 1, 0]
    ds.PixelSpacing, ds.SliceThickness = list(SPACING[:2]), SPACING[2]
    ds.Columns, ds.Rows = values.shape
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 1
    ds.RescaleSlope, ds.RescaleIntercept = "1", "0"
    ds.PixelData = np.ascontiguousarray(values.T).astype("<i2").tobytes()
    return ds


def measure(folder: Path, image: str, what: str) -> dict[str, float]:
    """Read or prepare one case in this process; return seconds, and bytes at the peak."""
    import torch

    import medfl.data.preprocess.steps  # noqa: F401 - imported before the clock runs
    from medfl.data.cohort import read_cohort
    from medfl.data.load import load_case
    from medfl.data.store.prepare import prepare_cases

    torch.set_num_threads(1)
    the_study = study(**(RESAMPLED if what == "resample" else PLAIN))

    def once(store: str) -> float:
        site = site_of(folder, image, store)
        started = time.perf_counter()
        if what == "read":
            load_case(read_cohort(site, the_study).cases[0], the_study, site)
        else:
            (done,) = prepare_cases(site, the_study).cases
            assert done.image.size
        return time.perf_counter() - started

    stores = [f"store-{image}-{what}-{time.time_ns()}-{turn}" for turn in range(2)]
    load_case(read_cohort(site_of(folder, image, "store"), the_study).cases[0], the_study, site_of(folder, image, "store"))
    before = _resident()
    peak = Peak()
    once(stores[0])  # touches memory that the machine had not given to anybody yet: slow, and no fault of either way
    highest = peak.stop() - before
    seconds = 0.0 if what == "resample" else once(stores[1])
    for store in stores:
        shutil.rmtree(folder / store, ignore_errors=True)
    return {"seconds": seconds, "peak": highest}


class Peak:
    """The highest resident size of this process, watched from a thread."""

    def __init__(self) -> None:
        self._highest, self._on = _resident(), True
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def stop(self) -> int:
        """Stop watching and return the bytes."""
        self._on = False
        self._thread.join()
        return self._highest

    def _watch(self) -> None:
        while self._on:
            self._highest = max(self._highest, _resident())
            time.sleep(0.005)


def _resident() -> int:
    """Return the bytes of this process's own memory; files that are mapped are the page cache's."""
    pages = Path("/proc/self/statm").read_text().split()
    return (int(pages[1]) - int(pages[2])) * resource.getpagesize()


def main() -> None:
    """Measure in new processes, in turns, and print ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="120 slices")
    parser.add_argument("--runs", type=int, default=2)
    options, _ = parser.parse_known_args()
    shape = QUICK if options.quick else SHAPE
    unit = 4 * int(np.prod(shape))
    print(f"preparing a CT of {' x '.join(map(str, shape))}, one float32 volume is {unit / 2**20:.0f} MiB")
    with tempfile.TemporaryDirectory() as name:
        make(Path(name), shape)
        time.sleep(2.1)  # files that are younger are not remembered as unchanged
        for image in ("img.nii", "img.nii.gz", "series"):
            _compare(Path(name), image, unit, options.runs)


def _compare(folder: Path, image: str, unit: int, runs: int) -> None:
    best: dict[str, dict[str, float]] = {}
    for _ in range(runs):
        for what in ("read", "prepare", "resample"):
            if what in best and what == "resample":
                continue  # only its memory is looked at, and that is the same every time
            command = [sys.executable, __file__, "--measure", str(folder), image, what]
            result = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
            best[what] = {key: min(value, best.get(what, result)[key]) for key, value in result.items()}
    read, plain, moved = (best[what] for what in ("read", "prepare", "resample"))
    print(
        f"{image:10}  memory {read['peak'] / unit:.2f} reading alone, {plain['peak'] / unit:.2f} preparing (budget 3), "
        f"{moved['peak'] / unit:.2f} with resampling (budget 6)"
    )
    print(
        f"{'':10}  speed {read['seconds'] / plain['seconds']:.2f} of reading alone (budget 0.8): "
        f"{read['seconds']:.1f} s reading, {plain['seconds']:.1f} s preparing"
    )


if __name__ == "__main__":
    if "--measure" in sys.argv:
        where, image_name, job = sys.argv[sys.argv.index("--measure") + 1 :]
        print(json.dumps(measure(Path(where), image_name, job)))
    else:
        main()
