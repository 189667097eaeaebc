"""Second start of training on prepared data: time to the first batch, against reading the same bytes with `numpy.memmap`.

Run ``python benchmarks/store.py``. Both sides are a new process each time, with numpy and the code imported and the files in
the page cache. The store side does all that a second start does: it reads the index of the data, checks that no source has
changed, opens the store and cuts the batch. The plain side maps the same files by path and shape, and cuts the same.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from medfl.data.store.prepare import prepare
from medfl.site import Resources, Site, SiteData, ensure_secret
from medfl.study import Study

CASES, SHAPE, PATCH, BATCH = 16, (160, 160, 128), 128, 2
REPEATS = 11


def study() -> Study:
    """Return a study with patches of 128 voxels a side, as nnU-Net plans them."""
    return Study.model_validate(
        {
            "name": "bench",
            "rounds": 1,
            "task": {"kind": "segmentation", "dimension": 3, "modality": "MR", "classes": "background,a"},
            "network": {"name": "unet"},
            "loss": {"name": "dice-ce"},
        }
    )


def site_at(folder: Path) -> Site:
    """Return the hospital whose data and store lie in a folder."""
    return Site(name="bench", folder=folder, data=SiteData(layout="csv"), resources=Resources(store=str(folder / "store")))


def make_site(folder: Path) -> Site:
    """Write volumes with masks and an index."""
    rows = ["image,label,patient"]
    generator = np.random.default_rng(0)
    for number in range(CASES):
        values = generator.normal(100, 10, SHAPE).astype(np.float32)
        for stem, array in (("img", values), ("seg", (values > 115).astype(np.uint8))):
            image = nib.Nifti1Image(array, np.eye(4))
            image.header.set_xyzt_units("mm")
            image.set_sform(image.affine, 1)
            image.set_qform(image.affine, 1)
            nib.save(image, folder / f"{stem}{number}.nii")
        rows.append(f"img{number}.nii,seg{number}.nii,p{number}")
    (folder / "index.csv").write_text("\n".join(rows))
    ensure_secret(folder / "site.secret")
    return site_at(folder)


def first_batch(arrays: list[tuple[Any, Any]]) -> float:
    """Cut one patch from the corner of each of the first images and of their masks."""
    cut = (slice(0, PATCH),) * 3
    images = np.stack([np.array(image[(slice(None), *cut)], np.float32) for image, _ in arrays[:BATCH]])
    labels = np.stack([np.array(label[cut]) for _, label in arrays[:BATCH]])
    return float(images[0, 0, 0, 0, 0]) + float(labels[0, 0, 0, 0])


def time_store(site: Site) -> float:
    """Return the seconds of a second start from the store."""
    the_study = study()
    start = time.perf_counter()
    prepared = prepare(site, the_study)
    first_batch([(case.image, case.label) for case in prepared.cases[:BATCH]])
    return time.perf_counter() - start


def time_memmap(files: list[list[Any]]) -> float:
    """Return the seconds that mapping all the files and cutting the same batch takes."""
    start = time.perf_counter()
    maps = [np.memmap(path, dtype, "r", offset, tuple(shape)) for path, dtype, offset, shape in files]
    first_batch(list(zip(maps[::2], maps[1::2], strict=True)))
    return time.perf_counter() - start


def main() -> None:
    """Measure in new processes, in turns, and print the ratio of the fastest: other work on the machine only slows."""
    with tempfile.TemporaryDirectory() as name:
        site = make_site(Path(name))
        time.sleep(2.1)  # files that are younger are not remembered as unchanged
        prepared = prepare(site, study())
        maps: list[Any] = [array for case in prepared.cases for array in (case.image, case.label)]
        files = [[str(m.filename), m.dtype.str, m.offset, m.shape] for m in maps]
        tasks = {"store": name, "memmap": json.dumps(files)}
        seconds: dict[str, list[float]] = {side: [] for side in tasks}
        for _ in range(REPEATS):
            for side, task in tasks.items():
                done = subprocess.run([sys.executable, __file__, side, task], check=True, capture_output=True, text=True)
                seconds[side].append(float(done.stdout))
    ratio = min(seconds["store"]) / min(seconds["memmap"])
    print(f"store second start / numpy.memmap: {ratio:.2f}")


if __name__ == "__main__":
    if len(sys.argv) == 1:
        main()
    elif sys.argv[1] == "store":
        print(time_store(site_at(Path(sys.argv[2]))))
    else:
        print(time_memmap(json.loads(sys.argv[2])))
