from __future__ import annotations

from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from medfl.data import simulated_sites
from medfl.data.cohort import read_cohort
from medfl.data.load import load_case
from medfl.data.simulated_sites import read_simulated_sites
from medfl.data.splits import assign_splits
from medfl.data.store.prepare import store_root
from medfl.errors import ConfigError, DataError


@pytest.fixture
def pool(tmp_path: Path) -> Path:
    """Return a folder of 12 images of 6 patients at the sites X, Y/Z and none."""
    root = tmp_path / "pool"
    root.mkdir()
    rows = ["image,label,patient,site"]
    for n in range(12):
        Image.new("L", (4, 4), n).save(root / f"{n}.png")
        rows.append(f"{n}.png,{'ab'[n % 2]},p{n % 6},{['X', 'Y/Z', ''][n % 3]}")
    (root / "index.csv").write_text("\n".join(rows))
    return root


@pytest.fixture
def study_of(make_study: Any) -> Any:
    def make(*folders: Path, **changes: Any) -> Any:
        options = {"task__kind": "classification", "task__classes": "a,b", "task__dimension": 2, "task__modality": "XR"}
        data = ",".join(str(folder) for folder in folders)
        return make_study(**options, simulation__data=data, **{f"simulation__{k}": v for k, v in changes.items()})

    return make


def test_a_raw_folder_is_one_site(pool: Path, study_of: Any, tmp_path: Path) -> None:
    before = sorted(pool.iterdir())
    (site,) = read_simulated_sites(study_of(pool))
    assert (site.name, site.root, site.policy.min_count) == ("pool", pool, 0)
    assert len(read_cohort(site, study_of(pool)).cases) == 12
    assert sorted(pool.iterdir()) == before  # nothing is written into a folder of data
    assert (tmp_path / "store" / "secret").stat().st_mode & 0o777 == 0o600


def test_a_raw_folder_may_run_what_is_installed(pool: Path, study_of: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    offered = {"medfl.clients": [EntryPoint("gentle", "gentle.client:build", "medfl.clients")]}
    monkeypatch.setattr(simulated_sites, "entry_points", lambda group: offered[group])
    assert [site.policy.extensions for site in read_simulated_sites(study_of(pool))] == [("gentle",)]


def test_a_column_tells_the_sites(pool: Path, study_of: Any) -> None:
    study = study_of(pool, partition="column", column="site", where="label=a")
    sites = read_simulated_sites(study)
    assert [site.name for site in sites] == ["X", "Y-Z"]
    assert [len(read_cohort(site, study).cases) for site in sites] == [2, 2]


def test_random_sites_share_patients_out(pool: Path, study_of: Any) -> None:
    study = study_of(pool, partition="random", sites=3)
    sites = read_simulated_sites(study)
    assert [site.name for site in sites] == ["pool-1", "pool-2", "pool-3"]
    cohorts = [read_cohort(site, study) for site in sites]
    assert [len({case.patient for case in cohort.cases}) for cohort in cohorts] == [2, 2, 2]
    files = [path for cohort in cohorts for case in cohort.cases for path in case.image.paths]
    assert len(set(files)) == 12
    assert all({case.label for case in cohort.cases} == {0, 1} for cohort in cohorts)
    assert sites == read_simulated_sites(study)


def test_folders_with_a_site_toml_are_sites_of_their_own(pool: Path, study_of: Any, tmp_path: Path) -> None:
    for name in ("south", "north"):
        folder = tmp_path / "hospitals" / name
        folder.mkdir(parents=True)
        (folder / "site.toml").write_text(f'name = "{name}"\n[data]\nroot = "."\npatient = "id"\n[policy]\nmin-count = 5\n')
    sites = read_simulated_sites(study_of(tmp_path / "hospitals"))
    assert [(site.name, site.policy.min_count, site.data.patient) for site in sites] == [("north", 5, "id"), ("south", 5, "id")]
    assert all(len(site.secret()) >= 32 for site in sites)
    assert [site.name for site in read_simulated_sites(study_of(tmp_path / "hospitals", partition="none"))] == ["hospitals"]


def test_names_must_differ(pool: Path, study_of: Any) -> None:
    with pytest.raises(ConfigError, match="pool"):
        read_simulated_sites(study_of(pool, pool))


def test_wrong_folders_and_columns_are_reported(pool: Path, study_of: Any, tmp_path: Path) -> None:
    for folders in ((), (tmp_path / "gone",), (Path("relative"),)):
        with pytest.raises(ConfigError, match=r"simulation\.data"):
            read_simulated_sites(study_of(*folders))
    with pytest.raises(DataError, match=r"INDEX-COLUMN.*'hospital'"):
        read_simulated_sites(study_of(pool, partition="column", column="hospital"))
    (tmp_path / "bare").mkdir()
    with pytest.raises(DataError, match="INDEX-MISSING"):
        read_simulated_sites(study_of(tmp_path / "bare", partition="column", column="site"))


def test_a_patient_is_at_one_site_only(pool: Path, study_of: Any) -> None:
    with (pool / "index.csv").open("a") as index:
        index.write("\n0.png,a,p1,X")  # p1 is at Y/Z
    options = {"partition": "column", "column": "site"}
    with pytest.raises(DataError, match=r"SPLIT-LEAK.*1 patient") as caught:
        read_simulated_sites(study_of(pool, **options))
    assert "p1" not in str(caught.value)
    assert len(read_simulated_sites(study_of(pool, **options, patient=""))) == 2  # one image, one patient


def test_secret_and_prepared_data_lie_in_one_store(
    pool: Path, study_of: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("MEDFL_STORE", "~/store")
    study = study_of(pool)
    study = study.model_copy(update={"simulation": study.simulation.model_copy(update={"store": ""})})
    (site,) = read_simulated_sites(study)
    assert store_root(site) == tmp_path / "home" / "store"
    assert (tmp_path / "home" / "store" / "secret").is_file()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MEDFL_STORE", "near")
    assert store_root(site) == tmp_path / "near"  # not in the folder of the data


def _check(study: Any, *, cases: int, every: int = 1) -> None:
    total = 0
    for site in read_simulated_sites(study):
        cohort = read_cohort(site, study)
        assert not [finding for finding in cohort.findings if finding.level == "error"]
        splits = assign_splits(cohort.cases, study)
        by_patient: dict[str, set[str]] = {}
        for case in cohort.cases:
            by_patient.setdefault(case.patient, set()).add(splits[case.name])
        assert all(len(names) == 1 for names in by_patient.values())
        for case in cohort.cases[::every]:
            load_case(case, study, site)
        total += len(cohort.cases)
    assert total == cases


@pytest.mark.realdata
def test_real_hippocampus(real_data: Path, make_study: Any) -> None:
    study = make_study(
        task__classes="background,anterior,posterior",
        simulation__data=str(real_data / "hippocampus"),
        simulation__image="images/{id}.nii.gz",
        simulation__label="labels/{id}.nii.gz",
        simulation__patient="id",
        simulation__partition="column",
        simulation__column="group",
    )
    assert len(read_simulated_sites(study)) == 4
    _check(study, cases=200, every=5)


@pytest.mark.realdata
def test_real_lungs(real_data: Path, make_study: Any) -> None:
    study = make_study(
        task__dimension=2,
        task__modality="XR",
        task__classes="background,lung",
        simulation__data=str(real_data / "chest-xray-hospitals"),
        simulation__label="lung_mask",
        simulation__where="lung_mask!=",
        simulation__partition="column",
        simulation__column="site",
    )
    _check(study, cases=164)


@pytest.mark.realdata
def test_real_classes(real_data: Path, study_of: Any, make_study: Any) -> None:
    both = (real_data / "chest-xray-nih", real_data / "chest-xray-hospitals")
    options = {"label": "view", "where": "view!=", "partition": "column", "column": "site"}
    views = study_of(*both, **options)
    views = views.model_copy(update={"task": views.task.model_copy(update={"classes": ("PA", "AP")})})
    _check(views, cases=1006, every=10)
    ultrasound = study_of(real_data / "breast-ultrasound", patient="", partition="random", sites=3)
    task = ultrasound.task.model_copy(update={"classes": ("normal", "benign", "malignant"), "modality": "US"})
    _check(ultrasound.model_copy(update={"task": task}), cases=780, every=10)
