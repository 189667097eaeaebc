"""Fingerprint of a site: what it measures of its own images, and what its policy keeps at the site."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from medfl.data.cases import Case
from medfl.data.simulated_sites import read_simulated_sites
from medfl.data.site_fingerprint import compute_fingerprint
from medfl.errors import ConfigError, DataError
from medfl.planning import fingerprint_statistics
from medfl.planning.bins import FRACTION_SCALE, MOMENT_SCALE
from medfl.planning.fingerprint import Fingerprint, merge
from medfl.planning.plan import make_plan
from medfl.schema import read_section
from medfl.site import Policy, Site, SiteData, ensure_secret
from medfl.study import Study, read_app, read_study

SAMPLES = Path(__file__).parents[2] / "sample_configs"


def make_study(**tables: object) -> Study:
    task = {"kind": "segmentation", "dimension": 3, "modality": "CT", "classes": "background,organ,lesion"}
    values = {
        "name": "organs", "rounds": 1, "task": task, "network": {"name": "unet"}, "loss": {"name": "dice-ce"},
        "splits": {"test": 0.0, "validation": 0.0},
    }  # fmt: skip
    return read_section(Study, values | tables, "pyproject.toml")


def write_case(folder: Path, k: int, *, group: str = "a", patient: str = "", flipped: bool = False) -> dict[str, str]:
    """Write a CT in a frame of zeros, whose size, spacing and values depend on its number."""
    rng = np.random.default_rng(k)
    shape = (20 + k % 3, 24, 12 + k % 5)
    label = np.zeros(shape, np.uint8)
    label[4:12, 5:14, 4:9] = 1
    label[6 : 6 + k % 3, 6:9, 5:7] = 2
    image = rng.normal(-60, 20, shape).round() + 120 * label
    image[:2], image[:, :3], image[..., -1] = 0, 0, 0
    affine = np.diag([0.8, 0.8, 2.0 + k % 2, 1.0])
    if flipped:  # the same patient, stored from left to right and with the axes in another order
        image, label = image[::-1].transpose(2, 0, 1), label[::-1].transpose(2, 0, 1)
        turn = np.array([[0, -0.8, 0, 0], [0, 0, 0.8, 0], [2.0 + k % 2, 0, 0, 0], [0, 0, 0, 1.0]])
        affine = turn
    for name, array in (("image", image.astype(np.int16)), ("label", label)):
        nib.save(nib.Nifti1Image(np.ascontiguousarray(array), affine), folder / f"{name}-{k}.nii")
    return {"image": f"image-{k}.nii", "label": f"label-{k}.nii", "patient": patient or f"p{k}", "group": group}


def write_index(folder: Path, rows: list[dict[str, str]]) -> None:
    with open(folder / "index.csv", "w", newline="") as file:
        table = csv.DictWriter(file, ["image", "label", "patient", "group"])
        table.writeheader()
        table.writerows(rows)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return the data folder of a hospital with fifteen patients of three scanners."""
    place = tmp_path / "data"
    place.mkdir()
    write_index(place, [write_case(place, k, group="abc"[k % 3]) for k in range(15)])
    return place


def site_at(folder: Path, *, min_count: int = 0, where: str = "") -> Site:
    ensure_secret(folder.parent / "secret")
    policy = Policy(min_count=min_count, min_cases=1)
    return Site(
        name="hospital", secret_file=str(folder.parent / "secret"), data=SiteData(where=where), policy=policy, folder=folder
    )


def same(one: Fingerprint, other: Fingerprint) -> bool:
    theirs = other.arrays()
    return all(np.array_equal(array, theirs[name]) for name, array in one.arrays().items())


def test_one_case_is_measured_after_the_crop(tmp_path: Path) -> None:
    write_index(tmp_path, [write_case(tmp_path, 4)])
    found = compute_fingerprint(site_at(tmp_path), make_study()).fingerprint
    label, image = (nib.load(tmp_path / f"{name}-4.nii").get_fdata() for name in ("label", "image"))
    box = (slice(2, 21), slice(3, 24), slice(0, 15))
    cropped = label[box].size
    assert fingerprint_statistics.median_size(found) == (19, 21, 15)
    assert [fingerprint_statistics.spacing_percentile(found, axis, 50) for axis in range(3)] == [0.8, 0.8, 2.0]
    assert found.fractions.tolist() == [round((label == c).sum() / cropped * FRACTION_SCALE) for c in (1, 2)]
    assert found.cropped == int(cropped < 0.75 * label.size)
    assert found.means[0] == pytest.approx(image[label > 0].mean() * MOMENT_SCALE, abs=1)


def test_orientation_of_the_file_changes_nothing(tmp_path: Path) -> None:
    found = []
    for flipped in (False, True):
        place = tmp_path / f"{flipped}"
        place.mkdir()
        write_index(place, [write_case(place, k, flipped=flipped) for k in range(4)])
        found.append(compute_fingerprint(site_at(place), make_study()).fingerprint)
    assert same(*found)


def test_sites_add_up_to_the_pooled_cases(folder: Path) -> None:
    study = make_study()
    pooled = compute_fingerprint(site_at(folder), study).fingerprint
    sites = [compute_fingerprint(site_at(folder, where=f"group={group}"), study).fingerprint for group in "abc"]
    assert [site.cases for site in sites] == [5, 5, 5]
    assert same(merge(sites), pooled)
    assert same(merge(sites[::-1]), pooled)


def test_patients_of_the_test_split_are_not_looked_at(folder: Path) -> None:
    study = make_study(splits={"test": 0.2, "validation": 0.2})
    seen: list[tuple[int, int]] = []
    found = compute_fingerprint(site_at(folder), study, lambda done, total: seen.append((done, total)))
    assert found.fingerprint.cases == 12
    assert seen[-1] == (12, 12)


def test_fewer_patients_than_the_policy_asks_for_tell_nothing(folder: Path) -> None:
    with pytest.raises(DataError, match="FINGERPRINT-FEW"):
        compute_fingerprint(site_at(folder, min_count=16), make_study())
    assert compute_fingerprint(site_at(folder, min_count=15), make_study()).fingerprint.cases == 15


def test_many_images_of_few_patients_tell_nothing_either(tmp_path: Path) -> None:
    write_index(tmp_path, [write_case(tmp_path, k, patient=f"p{k % 4}") for k in range(12)])
    with pytest.raises(DataError, match="FINGERPRINT-FEW"):
        compute_fingerprint(site_at(tmp_path, min_count=5), make_study())


def test_a_rare_class_is_hidden_by_the_policy(folder: Path) -> None:
    lesions = [int(bool((nib.load(folder / f"label-{k}.nii").get_fdata() == 2).any())) for k in range(15)]
    open_, suppressed = (compute_fingerprint(site_at(folder, min_count=k), make_study()).fingerprint for k in (0, 12))
    assert open_.present.tolist() == [15, sum(lesions)]
    assert 0 < sum(lesions) < 12
    assert suppressed.present.tolist() == [15, 0]
    assert suppressed.hidden.tolist() == [0, 1]


def test_a_bad_case_is_left_out_and_counted(folder: Path) -> None:
    (folder / "image-3.nii").write_bytes(b"no image")
    taken = compute_fingerprint(site_at(folder), make_study())
    assert taken.fingerprint.cases == 14
    assert [finding.code for finding in taken.findings if finding.level == "error"] == ["NII-FORMAT"]


def test_a_classification_has_no_fingerprint(nodule_study: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="classification"):
        compute_fingerprint(site_at(tmp_path), read_study(nodule_study))


@pytest.mark.slow
@pytest.mark.realdata
def test_four_groups_of_hippocampi_give_the_pooled_plan(real_data: Path) -> None:
    overrides = {"simulation.data": str(real_data / "hippocampus"), "splits.test": 0.0}
    app = read_app(SAMPLES / "hippocampus", overrides)
    study, together = app.study, app.simulation.model_copy(update={"partition": "none"})
    sites = [compute_fingerprint(site, study).fingerprint for site in read_simulated_sites(app.simulation)]
    (pool,) = read_simulated_sites(together)
    pooled = compute_fingerprint(pool, study).fingerprint
    assert (len(sites), pooled.cases) == (4, 200)
    assert same(merge(sites), pooled)
    plan = make_plan(pooled, study)
    assert plan == make_plan(merge(reversed(sites)), study)
    assert (plan.patch, plan.spacing, plan.filters) == ((40, 56, 40), (1.0, 1.0, 1.0), (32, 64, 128, 256))


@pytest.mark.parametrize(("share", "described"), [(0.2, 12), (0.4, 15)])
def test_a_validation_split_that_is_hidden_cannot_be_counted(folder: Path, share: float, described: int) -> None:
    study = make_study(splits={"test": 0.0, "validation": share})  # 3 patients, or 6
    assert compute_fingerprint(site_at(folder, min_count=5), study).fingerprint.cases == described
    assert compute_fingerprint(site_at(folder), study).fingerprint.cases == 15


def test_a_simulated_site_describes_a_small_validation_split_too(folder: Path) -> None:
    site, study = site_at(folder, min_count=5), make_study(splits={"test": 0.0, "validation": 0.2})  # 12 train
    assert compute_fingerprint(site, study, is_simulated=True).fingerprint.cases == 15


def test_a_site_of_whom_too_few_train_is_not_described(folder: Path) -> None:
    study = make_study(splits={"test": 0.0, "validation": 0.2})
    with pytest.raises(DataError, match="FINGERPRINT-FEW"):
        compute_fingerprint(site_at(folder, min_count=13), study)
    assert compute_fingerprint(site_at(folder, min_count=12), study).fingerprint.cases == 12


def test_whom_a_run_leaves_out_is_not_described(folder: Path) -> None:
    seen: list[str] = []

    def choose(cases: Sequence[Case]) -> set[str]:
        seen.extend(case.name for case in cases)
        return set(seen[:10])

    assert compute_fingerprint(site_at(folder), make_study(), choose=choose).fingerprint.cases == 10
    assert len(seen) == 15
