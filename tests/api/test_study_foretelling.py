"""What `medfl study check` foretells: a network that is too deep, and what the sites' policies refuse or hide."""

from __future__ import annotations

import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest

import medfl
from medfl.api.study_foretelling import require_trainable
from medfl.errors import ConfigError
from medfl.testing.sites import make_study

HIPPOCAMPUS = Path(__file__).parents[2] / "sample_configs" / "hippocampus"


def test_images_too_small_for_the_network_are_refused_before_anything_runs(nodule_study: Path) -> None:
    study = medfl.open_study(nodule_study)
    assert study.check().foretell() == ()
    with pytest.raises(ConfigError) as refused:
        study.change(preprocessing={"size": "4,4"}, network={"channels": "4,8,16,32"}).check().foretell()
    (problem,) = refused.value.problems
    assert problem.key == "preprocessing.size"
    assert "at a size of 4x4 the deepest level of the network is a single voxel" in problem.what
    assert "Enlarge training.patch or preprocessing.size" in problem.fix


@pytest.mark.parametrize(("patch", "is_refused"), [("8,16", False), ("8,8", True)])
def test_a_patch_is_refused_where_the_deepest_level_is_a_single_voxel(patch: str, is_refused: bool) -> None:
    study = make_study(training={"patch": patch}, network={"name": "unet", "channels": "4,8,8,8"})
    with pytest.raises(ConfigError, match=r"training\.patch") if is_refused else nullcontext():
        require_trainable(study)


def test_a_study_is_checked_without_torch_where_its_network_need_not_be_built() -> None:
    code = f"import sys, medfl; medfl.open_study({str(HIPPOCAMPUS)!r}).check().foretell(); assert 'torch' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_it_is_foretold_that_a_federation_of_as_many_hospitals_could_not_run_the_study(
    nodule_study: Path, nodule_hospitals: Path
) -> None:
    study = medfl.open_study(nodule_study).change(arms="federated,local", strategy={"max-sites": 2})
    (sentence,) = study.check(nodule_hospitals).foretell()
    assert sentence.startswith("A federation would refuse the study. strategy.max-sites: 3 hospitals take part, and ")


def test_what_the_policies_of_sites_refuse_and_hide_is_foretold(nodule_study: Path, nodule_hospitals: Path) -> None:
    policies = {
        "hospital-1": 'min-count = 5\ntasks = "segmentation"',
        "hospital-2": "min-count = 30",
        "hospital-3": "min-count = 0",
    }
    for name, policy in policies.items():
        file = nodule_hospitals / name / "site.toml"
        head, _, _ = file.read_text().partition("[policy]")
        file.write_text(f"{head}[policy]\n{policy}\nmin-cases = 1\n")
    foretold = medfl.open_study(nodule_study).check(nodule_hospitals).foretell()
    assert foretold == (
        "hospital-1 would refuse the study. The study is a classification; allowed: segmentation.",
        "hospital-1 will not tell its scores over 2 validation patients and 2 test patients: "
        "its policy hides numbers over fewer than 5.",
        "hospital-2 would decline: its policy lets no count below 30 leave, and it has 8 training patients.",
        "hospital-2 will not tell its scores over 2 validation patients and 2 test patients: "
        "its policy hides numbers over fewer than 30.",
    )


def test_a_site_whose_data_cannot_be_read_is_named_with_the_reason(nodule_study: Path, nodule_hospitals: Path) -> None:
    file = nodule_hospitals / "hospital-1" / "site.toml"
    file.write_text(file.read_text().replace("min-count = 0", "min-count = 10"))
    (nodule_hospitals / "hospital-1" / "data" / "index.csv").write_text("nothing\n")
    (sentence,) = medfl.open_study(nodule_study).check(nodule_hospitals).foretell()
    assert sentence.startswith("hospital-1: what its policy hides cannot be told, as its data cannot be read. [")
