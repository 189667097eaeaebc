from __future__ import annotations

import shutil
from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from medfl.data import simulated_sites
from medfl.data.cohort import check_division, read_cohort
from medfl.data.load import load_case
from medfl.data.simulated_sites import join_folders, read_simulated_sites
from medfl.data.splits import assign_splits
from medfl.data.store.prepare import store_root
from medfl.errors import ConfigError, DataError
from medfl.study import Simulation, Study


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
def study(make_study: Any) -> Study:
    made: Study = make_study(task__kind="classification", task__classes="a,b", task__dimension=2, task__modality="XR")
    return made


@pytest.fixture
def simulation_of(tmp_path: Path) -> Callable[..., Simulation]:
    def make(*folders: Path, **changes: Any) -> Simulation:
        return Simulation(**{"data": tuple(map(str, folders)), "store": str(tmp_path / "store"), **changes})

    return make


def test_a_raw_folder_is_one_site(pool: Path, study: Study, simulation_of: Any, tmp_path: Path) -> None:
    before = sorted(pool.iterdir())
    (site,) = read_simulated_sites(simulation_of(pool))
    assert (site.name, site.root, site.policy.min_count) == ("pool", pool, 0)
    assert len(read_cohort(site, study).cases) == 12
    assert sorted(pool.iterdir()) == before  # nothing is written into a folder of data
    assert (tmp_path / "store" / "secret").stat().st_mode & 0o777 == 0o600


def test_a_raw_folder_may_run_what_is_installed(pool: Path, simulation_of: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    offered = {"medfl.clients": [EntryPoint("gentle", "gentle.client:build", "medfl.clients")]}
    monkeypatch.setattr(simulated_sites, "entry_points", lambda group: offered[group])
    assert [site.policy.extensions for site in read_simulated_sites(simulation_of(pool))] == [("gentle",)]


def test_a_column_tells_the_sites(pool: Path, study: Study, simulation_of: Any) -> None:
    simulation = simulation_of(pool, partition="column", column="site", where="label=a")
    sites = read_simulated_sites(simulation)
    assert [site.name for site in sites] == ["X", "Y-Z"]
    assert [len(read_cohort(site, study).cases) for site in sites] == [2, 2]


def test_a_misspelt_hospital_is_refused_and_not_left_out(pool: Path, simulation_of: Any) -> None:
    def sites_where(where: str) -> list[str]:
        simulation = simulation_of(pool, partition="column", column="site", where=where)
        return [site.name for site in read_simulated_sites(simulation)]

    assert sites_where("site=X|Y/Z") == ["X", "Y-Z"]
    with pytest.raises(DataError, match=r"INDEX-WHERE.*1 value"):
        sites_where("site=X|Z/Y")


def test_many_sites_take_one_look_at_what_is_installed(pool: Path, simulation_of: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[str] = []
    monkeypatch.setattr(simulated_sites, "entry_points", lambda group: looks.append(group) or [])  # type: ignore[func-returns-value]
    assert len(read_simulated_sites(simulation_of(pool, partition="random", sites=50))) == 50
    assert len(looks) == 1


def test_random_sites_share_patients_out(pool: Path, study: Study, simulation_of: Any) -> None:
    simulation = simulation_of(pool, partition="random", sites=3)
    sites = read_simulated_sites(simulation)
    assert [site.name for site in sites] == ["pool-1", "pool-2", "pool-3"]
    cohorts = [read_cohort(site, study) for site in sites]
    assert [len({case.patient for case in cohort.cases}) for cohort in cohorts] == [2, 2, 2]
    files = [path for cohort in cohorts for case in cohort.cases for path in case.image.paths]
    assert len(set(files)) == 12
    assert all({case.label for case in cohort.cases} == {0, 1} for cohort in cohorts)
    assert sites == read_simulated_sites(simulation)


@pytest.mark.parametrize(
    "settings",
    [
        {"partition": "random", "sites": 6},
        {"partition": "label-skew", "sites": 2, "alpha": 100.0},
        {"partition": "quantity-skew", "shares": (0.5, 0.5)},
        {"partition": "positives", "positives": (0.5, 0.5)},
    ],
)
def test_an_image_of_several_patients_is_used_at_no_hospital_and_told_by_one(
    pool: Path, study: Study, simulation_of: Any, settings: dict[str, Any]
) -> None:
    with (pool / "index.csv").open("a") as index:
        for n in range(1, 6):
            shutil.copy(pool / "0.png", pool / f"copy-{n}.png")  # of p0
            index.write(f"\ncopy-{n}.png,a,p{n},X")
    cohorts = [read_cohort(site, study) for site in read_simulated_sites(simulation_of(pool, **settings))]
    names = {path.name for cohort in cohorts for case in cohort.cases for path in case.image.paths}
    assert names == {f"{n}.png" for n in range(1, 12)}
    assert [finding.code for cohort in cohorts for finding in cohort.findings].count("CASE-CONFLICT") == 1


def test_a_copy_that_agrees_is_used_at_one_hospital(pool: Path, study: Study, simulation_of: Any) -> None:
    for n in range(6):
        shutil.copy(pool / f"{n}.png", pool / f"copy-{n}.png")
    rows = [f"{name}{n}.png,{'ab'[n % 2]}" for name in ("", "copy-") for n in range(6)]
    (pool / "index.csv").write_text("\n".join(["image,label", *rows]))  # no patients: each copy would be one of its own
    sites = read_simulated_sites(simulation_of(pool, partition="random", sites=3, patient=""))
    assert [len(read_cohort(site, study).cases) for site in sites] == [2, 2, 2]
    with pytest.raises(DataError, match=r"SITE-PARTITION\] 6 patients cannot be at 7 hospitals"):
        check_division(read_simulated_sites(simulation_of(pool, partition="random", sites=7, patient=""))[0], study)


def test_a_split_seed_keeps_patients_at_their_random_sites(pool: Path, make_study: Any, simulation_of: Any) -> None:
    sites = read_simulated_sites(simulation_of(pool, partition="random", sites=3))

    def patients(**seeds: int) -> list[set[str]]:
        study = make_study(task__kind="classification", task__classes="a,b", task__dimension=2, task__modality="XR", **seeds)
        return [{path for case in read_cohort(site, study).cases for path in map(str, case.image.paths)} for site in sites]

    assert patients(seed=1, **{"split-seed": 4}) == patients(seed=2, **{"split-seed": 4}) == patients(seed=4)
    assert patients(seed=1) != patients(seed=4)


def test_stated_shares_of_positives_are_of_patients_and_who_is_left_out_is_counted(
    pool: Path, study: Study, simulation_of: Any
) -> None:
    rows = [f"{n}.png,{'ab'[n in (3, 9)]},p{n % 6},X" for n in range(12)]  # one patient of class b, who has two images
    (pool / "index.csv").write_text("\n".join(["image,label,patient,site", *rows]))
    sites = read_simulated_sites(simulation_of(pool, partition="positives", positives=(0.5, 0.0), shares=(0.4, 0.6)))
    cohorts = [read_cohort(site, study) for site in sites]
    assert [sorted(case.label for case in cohort.cases) for cohort in cohorts] == [[0, 0, 1, 1], [0] * 6]
    told = [[finding.what for finding in cohort.findings if finding.code == "SITE-REST"] for cohort in cohorts]
    assert told == [["1 of 6 patients have no place in the stated shares, and are at no hospital."], []]


def test_more_hospitals_than_patients_are_refused(pool: Path, study: Study, simulation_of: Any) -> None:
    site, *_ = read_simulated_sites(simulation_of(pool, partition="random", sites=7))
    with pytest.raises(DataError, match=r"SITE-PARTITION\] 6 patients cannot be at 7 hospitals"):
        check_division(site, study)


def test_chosen_hospitals_have_a_scanner_of_their_own(pool: Path, simulation_of: Any) -> None:
    def chosen(**settings: Any) -> list[bool]:
        sites = read_simulated_sites(simulation_of(pool, partition="random", sites=3, **settings))
        return [site.simulated is not None and site.simulated.own_scanner for site in sites]

    assert chosen() == [False, False, False]
    assert chosen(scanner_gain=0.2) == [True, True, True]
    assert chosen(scanner_gain=0.2, scanner_sites="1") == [True, False, False]
    assert chosen(scanner_gain=0.2, scanner_sites="pool-2,pool-3") == [False, True, True]
    with pytest.raises(ConfigError, match=r"simulation\.scanner-sites: came 'north', allowed: a number up to 3, or names of"):
        chosen(scanner_gain=0.2, scanner_sites="north")


def test_folders_with_a_site_toml_are_sites_of_their_own(pool: Path, simulation_of: Any, tmp_path: Path) -> None:
    for name in ("south", "north"):
        folder = tmp_path / "hospitals" / name
        folder.mkdir(parents=True)
        (folder / "site.toml").write_text(f'name = "{name}"\n[data]\nroot = "."\npatient = "id"\n[policy]\nmin-count = 5\n')
    sites = read_simulated_sites(simulation_of(tmp_path / "hospitals"))
    assert [(site.name, site.policy.min_count, site.data.patient) for site in sites] == [("north", 5, "id"), ("south", 5, "id")]
    assert all(len(site.secret()) >= 32 for site in sites)
    assert [site.name for site in read_simulated_sites(simulation_of(tmp_path / "hospitals", partition="none"))] == [
        "hospitals"
    ]


def test_names_must_differ(pool: Path, simulation_of: Any) -> None:
    with pytest.raises(ConfigError, match="pool"):
        read_simulated_sites(simulation_of(pool, pool))


def test_wrong_folders_and_columns_are_reported(pool: Path, simulation_of: Any, tmp_path: Path) -> None:
    for folders in ((), (tmp_path / "gone",), (Path("relative"),)):
        with pytest.raises(ConfigError, match=r"simulation\.data"):
            read_simulated_sites(simulation_of(*folders))
    with pytest.raises(DataError, match=r"INDEX-COLUMN.*'hospital'"):
        read_simulated_sites(simulation_of(pool, partition="column", column="hospital"))
    (tmp_path / "bare").mkdir()
    with pytest.raises(DataError, match="INDEX-MISSING"):
        read_simulated_sites(simulation_of(tmp_path / "bare", partition="column", column="site"))


def test_a_patient_is_at_one_site_only(pool: Path, simulation_of: Any) -> None:
    with (pool / "index.csv").open("a") as index:
        index.write("\n0.png,a,p1,X")  # p1 is at Y/Z
    options = {"partition": "column", "column": "site"}
    with pytest.raises(DataError, match=r"SPLIT-LEAK.*1 patient") as caught:
        read_simulated_sites(simulation_of(pool, **options))
    assert "p1" not in str(caught.value)
    assert len(read_simulated_sites(simulation_of(pool, **options, patient=""))) == 2  # one image, one patient


def test_secret_and_prepared_data_lie_in_one_store(
    pool: Path, simulation_of: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("MEDFL_STORE", "~/store")
    (site,) = read_simulated_sites(simulation_of(pool, store=""))
    assert store_root(site) == tmp_path / "home" / "store"
    assert (tmp_path / "home" / "store" / "secret").is_file()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MEDFL_STORE", "near")
    assert store_root(site) == tmp_path / "near"  # not in the folder of the data


def _check(study: Study, simulation: Simulation, *, cases: int, every: int = 1, errors: tuple[str, ...] = ()) -> None:
    total, told = 0, []
    for site in read_simulated_sites(simulation):
        cohort = read_cohort(site, study)
        told += [finding.code for finding in cohort.findings if finding.level == "error"]
        splits = assign_splits(cohort.cases, study, site.name)
        by_patient: dict[str, set[str]] = {}
        for case in cohort.cases:
            by_patient.setdefault(case.patient, set()).add(splits[case.name])
        assert all(len(names) == 1 for names in by_patient.values())
        for case in cohort.cases[::every]:
            load_case(case, study, site)
        total += len(cohort.cases)
    assert (total, tuple(told)) == (cases, errors)


@pytest.mark.realdata
def test_real_hippocampus(real_data: Path, make_study: Any, simulation_of: Any) -> None:
    simulation = simulation_of(
        real_data / "hippocampus",
        image="images/{id}.nii.gz",
        label="labels/{id}.nii.gz",
        patient="id",
        partition="column",
        column="group",
    )
    assert len(read_simulated_sites(simulation)) == 4
    _check(make_study(task__classes="background,anterior,posterior"), simulation, cases=200, every=5)


@pytest.mark.realdata
def test_real_lungs(real_data: Path, make_study: Any, simulation_of: Any) -> None:
    study = make_study(task__dimension=2, task__modality="XR", task__classes="background,lung")
    options = {"label": "lung_mask", "where": "lung_mask!=", "partition": "column", "column": "site"}
    _check(study, simulation_of(real_data / "chest-xray-hospitals", **options), cases=164)


@pytest.mark.realdata
def test_real_classes(real_data: Path, study: Study, simulation_of: Any) -> None:
    both = (real_data / "chest-xray-nih", real_data / "chest-xray-hospitals")
    options = {"label": "view", "where": "view!=", "partition": "column", "column": "site"}
    views = study.model_copy(update={"task": study.task.model_copy(update={"classes": ("PA", "AP")})})
    _check(views, simulation_of(*both, **options), cases=1006, every=10)
    task = study.task.model_copy(update={"classes": ("normal", "benign", "malignant"), "modality": "US"})
    ultrasound = study.model_copy(update={"task": task})
    simulation = simulation_of(real_data / "breast-ultrasound", patient="", partition="random", sites=3)
    _check(ultrasound, simulation, cases=778, every=10, errors=("CASE-CONFLICT",))  # one image is there as benign and malignant


def test_a_comma_in_a_folder_is_told_and_not_read_as_two_folders(tmp_path: Path) -> None:
    assert join_folders([tmp_path / "a", tmp_path / "b"]) == f"{tmp_path}/a,{tmp_path}/b"
    with pytest.raises(ConfigError, match=r"--data: .*a,b: there is a comma .* write --data before each"):
        join_folders([tmp_path / "a,b"])
