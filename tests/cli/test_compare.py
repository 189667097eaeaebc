"""Command `medfl compare`: one table and one file of patients for all arms; and the statistics behind them."""

from __future__ import annotations

import csv
import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from medfl.cli import sweep_outcome
from medfl.cli.app import app
from medfl.cli.compare import parse_arms, run_comparison
from medfl.cli.comparison_text import print_comparison
from medfl.errors import ConfigError
from medfl.evaluation import arm_differences, arm_runs
from medfl.evaluation.arm_differences import lower_limit
from medfl.evaluation.arm_runs import ArmRun
from medfl.evaluation.bootstrap import ClassifiedPatients, SegmentedPatients, draw_weights
from medfl.evaluation.complete_runs import keep_complete
from medfl.evaluation.hospital_scores import score_by_hospital
from medfl.evaluation.strategy_comparison import summarize
from medfl.report import comparison_page
from medfl.simulation.sweep_runner import make_sweep_folder, plan_sweep
from medfl.study.arms import ARMS


def segmented(arm: str, dice: list[float], seed: int = 1) -> ArmRun:
    patients = tuple(("a", f"pat-{k}") for k in range(len(dice)))
    return ArmRun(arm, "fedavg" if arm == "federated" else "", seed, 4, 8, 0, SegmentedPatients(patients, np.array([dice]).T))


def test_a_difference_that_holds_for_every_patient_is_told_and_another_is_not() -> None:
    dice = list(np.linspace(0.5, 0.9, 20))
    local = [x - 0.1 for x in dice]
    pooled = [x + 0.1 * (-1) ** k for k, x in enumerate(dice)]
    arms = [segmented("federated", dice), segmented("local", local), segmented("pooled", pooled)]
    summaries, differences = summarize(arms)
    assert [each.score for each in summaries] == pytest.approx([0.7, 0.6, 0.7])
    assert [(each.second, each.verdict) for each in differences] == [("local", "higher"), ("pooled", "not known")]


def test_a_difference_that_chance_makes_among_many_comparisons_is_not_told() -> None:
    rng = np.random.default_rng(1)
    dice = rng.uniform(0.5, 0.9, 20)
    local = dice - 0.002 * np.array([*range(5, 20), -12, -10, -8, -6, -4])
    _, (alone,) = summarize([segmented("federated", list(dice)), segmented("local", list(local))])
    others = [segmented(f"local {k}", list(dice + rng.normal(0, 0.05, 20))) for k in range(12)]
    _, (among, *_) = summarize([segmented("federated", list(dice)), segmented("local", list(local)), *others])
    assert (alone.verdict, among.verdict) == ("higher", "not known")
    assert among.interval == alone.interval


def test_seeds_are_averaged_and_do_not_narrow_the_interval() -> None:
    dice = list(np.linspace(0.5, 0.9, 20))
    (one,), _ = summarize([segmented("local", dice)])
    (three,), _ = summarize([segmented("local", dice, seed) for seed in (1, 2, 3)])
    assert one.interval == pytest.approx(three.interval)
    assert (one.seeds, three.seeds) == (1, 3)


def test_models_of_two_hospitals_are_not_ranked_against_each_other() -> None:
    patients = tuple((site, f"pat-{k}") for site in ("a", "b") for k in range(2))
    first = np.array([0.1, 0.2, 0.8, 0.9])  # in order at each hospital; the scales differ
    test = ClassifiedPatients(patients, np.arange(4), np.array([0, 1, 0, 1]), np.stack([1 - first, first], axis=1))
    assert score_by_hospital(test, np.ones((1, 4))) == pytest.approx(1.0)
    assert test.score(np.ones((1, 4))) == pytest.approx(0.75)


def test_arms_are_compared_on_the_seeds_that_both_completed() -> None:
    dice = list(np.linspace(0.5, 0.9, 20))
    poor = segmented("federated", [x - 0.2 for x in dice], seed=2)
    arms = [segmented("federated", dice, seed=1), poor, segmented("local", dice, seed=1)]
    (federated, local), (difference,) = summarize(arms)
    assert (federated.seeds, local.seeds) == (2, 1)
    assert (difference.difference, difference.verdict) == (0.0, "not known")
    assert summarize([poor, segmented("local", dice, seed=1)])[1] == ()


def test_an_overwhelming_difference_is_told() -> None:
    dice = np.linspace(0.5, 0.9, 2500)
    _, (difference,) = summarize([segmented("federated", list(dice)), segmented("local", list(dice - 0.01 - dice / 100))])
    assert difference.verdict == "higher"


def test_one_patient_at_each_hospital_has_an_interval_and_one_patient_in_all_has_none() -> None:
    patients = tuple((f"hospital-{k}", "pat-1") for k in range(8))
    tests = [SegmentedPatients(patients, np.linspace(0.5, 0.9, 8)[:, None] + shift) for shift in (0.0, 0.1)]
    arms = [ArmRun(name, "", 1, 1, 1, 0, test) for name, test in zip(("federated", "local"), tests, strict=True)]
    summary = summarize(arms)[0][0]
    assert summary.interval is not None
    assert summary.interval[1] - summary.interval[0] > 0.1
    (alone, _), (difference,) = summarize([segmented("federated", [0.9]), segmented("local", [0.5])])
    assert (alone.interval, difference.verdict) == (None, "not known")


@pytest.mark.parametrize(("below", "margin", "shown"), [(0.01, 0.02, True), (0.01, 0.005, False), (0.01, 0.0, None)])
def test_federated_is_not_inferior_where_the_interval_is_above_the_margin(below: float, margin: float, shown: bool) -> None:
    dice = np.linspace(0.5, 0.9, 40)
    noise = np.tile([0.004, -0.004], 20)
    arms = [segmented("federated", list(dice - below + noise)), segmented("pooled", list(dice)), segmented("local", list(dice))]
    _, (pooled, local) = summarize(arms, margin)
    assert (pooled.not_inferior, pooled.margin) == (shown, margin or None)
    assert local.not_inferior is None


@pytest.mark.parametrize(("patients", "shown"), [(3, False), (19, False), (20, True)])
def test_not_inferior_is_said_of_enough_patients_alone(
    patients: int, shown: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    dice = np.linspace(0.5, 0.9, patients)
    near = dice - 0.01 + 0.001 * np.sin(np.arange(patients))
    summaries, differences = summarize([segmented("federated", list(near)), segmented("pooled", list(dice))], 0.02)
    assert differences[0].not_inferior == shown
    print_comparison(summaries, differences, "segmentation")
    assert ("not shown, with fewer than 20 test patients." in capsys.readouterr().out) == (not shown)


def test_not_inferior_keeps_its_level_where_the_truth_is_at_the_margin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arm_differences, "MIN_PATIENTS", 2)
    rng = np.random.default_rng(1)
    patients = tuple((site, f"pat-{k:02}") for site in "abc" for k in range(2))
    weights = draw_weights(patients, 1000, by_hospital=True)
    drawn = rng.normal(0, 0.03, (2000, len(patients)))
    means = np.concatenate([drawn.mean(axis=1)[None], weights @ drawn.T / len(patients)])
    limits = np.array([lower_limit(each, patients) for each in means.T])
    bootstrap = np.percentile(means[1:], 2.5, axis=0)
    assert np.mean(bootstrap > 0) > 0.08  # what percentiles alone would claim
    assert np.mean(limits > 0) < 0.035


def test_no_p_value_no_claim_of_an_auroc() -> None:
    patients = tuple((site, f"pat-{k:02}") for site in "ab" for k in range(20))
    truth = np.array([k == 0 or (k >= 20 and k % 2 == 0) for k in range(40)])  # one patient of the class at the first hospital
    first = np.where(truth, 0.9, 0.1)
    test = ClassifiedPatients(patients, np.arange(40), truth.astype(int), np.stack([1 - first, first], axis=1))
    _, (difference,) = summarize([ArmRun(arm, "", 1, 1, 1, 0, test) for arm in ("federated", "pooled")], 0.02)
    assert (difference.p_value, difference.not_inferior) == (None, False)


def test_a_margin_without_the_pooled_arm_is_told(nodule_study: Path, nodule_hospitals: Path, tmp_path: Path) -> None:
    command = ["compare", str(nodule_study), "--data", str(nodule_hospitals), "--out", str(tmp_path), "--dry-run", "--json"]
    command += ["--set", "evaluation.margin=0.02", "--vary", "rounds=1,2", "--arms"]  # no time is estimated of several values
    told = "evaluation.margin tells nothing here"
    assert told in CliRunner().invoke(app, [*command, "federated,local"]).stderr
    assert told not in CliRunner().invoke(app, [*command, "federated,pooled"]).stderr


def test_a_federated_arm_is_compared_with_its_own_fine_tuned_models() -> None:
    dice = list(np.linspace(0.5, 0.9, 20))
    runs = [
        dataclasses.replace(segmented(arm, [x - k / 100 for x in dice]), strategy=strategy)
        for k, (arm, strategy) in enumerate(
            [
                ("federated", "fedavg"),
                ("fine-tuned", "fedavg"),
                ("federated", "fedprox"),
                ("fine-tuned", "fedprox"),
                ("local", ""),
            ]
        )
    ]
    assert {(each.first, each.second) for each in summarize(runs)[1]} == {
        ("federated fedavg", "fine-tuned fedavg"),
        ("federated fedavg", "local"),
        ("federated fedprox", "fine-tuned fedprox"),
        ("federated fedprox", "local"),
        ("federated fedavg", "federated fedprox"),
    }


def test_noise_of_floating_point_is_no_difference() -> None:
    dice = np.random.default_rng(0).uniform(0.3, 0.9, 20)
    _, (difference,) = summarize([segmented("federated", list(dice + 1e-16)), segmented("local", list((dice + 0.1) - 0.1))])
    assert (difference.p_value, difference.verdict) == (1.0, "not known")
    assert difference.effect.value in (0.0, pytest.approx(0.0, abs=1e-12))


def test_many_models_of_a_seed_have_a_calibration_error_without_its_slow_interval() -> None:
    patients = tuple(("a", f"pat-{k}") for k in range(20))
    first = np.linspace(0.1, 0.9, 20)
    test = ClassifiedPatients(patients, np.arange(20), np.arange(20) % 2, np.stack([1 - first, first], axis=1))
    one = ArmRun("local elsewhere", "", 1, 1, 1, 0, test)
    ((alone,), _), ((several,), _) = (summarize([run]) for run in (one, dataclasses.replace(one, more_tests=(test,))))
    assert alone.calibration is not None
    assert several.calibration is not None
    assert alone.calibration.ece_interval is not None
    assert several.calibration.ece_interval is None
    assert several.calibration.ece == pytest.approx(alone.calibration.ece)


def test_seeds_vary_apart_from_patients() -> None:
    dice = np.linspace(0.5, 0.9, 20)
    (three,), _ = summarize([segmented("local", list(dice + shift), seed) for seed, shift in enumerate((-0.01, 0.0, 0.01))])
    assert three.seed_sd == pytest.approx(0.01)
    assert three.seed_scores == pytest.approx({0: 0.69, 1: 0.7, 2: 0.71})
    (one,), _ = summarize([segmented("local", list(dice))])
    assert one.seed_sd is None


def test_what_is_printed_says_no_more_than_the_numbers_and_fits_a_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    dice = np.linspace(0.5, 0.9, 20)
    pooled = dice + 0.02 * np.array([*[1] * 13, *[-1] * 7])
    arms = [segmented("federated", list(dice)), segmented("local", list(dice - 0.1)), segmented("pooled", list(pooled))]
    print_comparison(*summarize(arms, margin=0.03), "segmentation")
    told = capsys.readouterr().out
    assert "federated fedavg is higher than local: +0.100" in told
    assert "federated fedavg – pooled not known: -0.006" in told
    assert "; N 1" in told
    assert "federated fedavg is not inferior to pooled by more than 0.03." in told
    assert "About N test patients would tell, if the difference is what it looks like." in told
    assert max(map(len, told.splitlines())) <= 80


def test_a_group_is_scored_by_all_models_of_an_arm() -> None:
    run = segmented("local elsewhere", [0.4, 0.6, 0.8])
    twice = dataclasses.replace(run, more_tests=(segmented("", [0.6, 0.8, 1.0]).test,))
    ((summary,), _) = summarize([twice], groups={"sex": {("a", "pat-0"): "F", ("a", "pat-1"): "F"}})
    assert [each.score for each in summary.subgroups] == pytest.approx([0.6])


def test_groups_of_patients_have_a_table_of_their_own(capsys: pytest.CaptureFixture[str]) -> None:
    dice = list(np.linspace(0.5, 0.9, 20))
    sex = {("a", f"pat-{k}"): "F" if k < 5 else "M" for k in range(20)}
    arms = [segmented("federated", dice), segmented("local", [x / 2 for x in dice])]
    print_comparison(*summarize(arms, groups={"sex": sex}), "segmentation")
    told = " ".join(capsys.readouterr().out.split())
    assert "sex: F (5) 0.542 0.271 sex: M (15) 0.753 0.376" in told


def test_what_is_compared_anyway_is_no_strategy(nodule_study: Path, nodule_hospitals: Path) -> None:
    done = CliRunner().invoke(app, ["compare", str(nodule_study), "--data", str(nodule_hospitals), "--strategies", "local"])
    assert done.exit_code != 0
    assert "is an arm, and no strategy" in str(done.exception)


@pytest.mark.parametrize(
    "words", [("compare",), ("compare", "--vary", "rounds=1,2"), ("sweep", "--strategies", "fedavg,fedprox")], ids=" ".join
)
def test_a_network_too_deep_for_the_images_is_refused_before_any_run(
    words: tuple[str, ...], nodule_study: Path, nodule_hospitals: Path, tmp_path: Path
) -> None:
    small = ["--set", "preprocessing.size=4,4", "--set", "network.channels=4,8,16,32", "--out", str(tmp_path / "out")]
    command = [words[0], str(nodule_study), *words[1:], "--data", str(nodule_hospitals), *small, "--dry-run"]
    assert "the deepest level of the network is a single voxel" in str(CliRunner().invoke(app, command).exception)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arms", "reason"),
    [
        ("federated,alone", "there is no such arm"),
        ("federated,ensemble", "begins with the models of 'local'"),
        ("local,pooled", "lacks 'federated'"),
    ],
)
def test_arms_that_cannot_be_compared_are_refused(arms: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        parse_arms(arms)


def test_arms_come_in_their_usual_order() -> None:
    assert parse_arms(" pooled,federated ") == ["federated", "pooled"]
    assert parse_arms("") == list(ARMS)


def test_an_arm_of_several_models_has_their_mean_and_each_patient_counts_once() -> None:
    dice = list(np.linspace(0.5, 0.9, 20))
    scores = np.random.default_rng(1).uniform(0.4, 0.8, (2, 20))
    poor, good = (segmented("local elsewhere", list(of_one)) for of_one in scores)
    both = dataclasses.replace(poor, more_tests=(good.test,))
    (_, summary), (difference,) = summarize([segmented("federated", dice), both])
    mean = segmented("local elsewhere", list(scores.mean(axis=0)))
    (_, as_one), (as_one_difference,) = summarize([segmented("federated", dice), mean])
    assert summary.score == pytest.approx(as_one.score)
    assert summary.interval == pytest.approx(as_one.interval)
    assert difference.p_value == pytest.approx(as_one_difference.p_value)


def test_patients_that_an_arm_lacks_count_in_none_and_are_named_by_their_number() -> None:
    runs = [segmented("federated", [0.5, 0.5, 0.9]), segmented("local", [0.5, 0.5])]
    summaries, _ = summarize(runs)
    assert [each.score for each in summaries] == pytest.approx([0.5, 0.5])
    assert keep_complete(runs)[1] == ["1 test patient of a is left out of all arms: without scores in local (seed 1)."]


def at_hospitals(arm: str, hospitals: str, score: float, seed: int = 1) -> ArmRun:
    patients = tuple((site, f"pat-{k}") for site in hospitals for k in range(10))
    test = SegmentedPatients(patients, np.full((len(patients), 1), score))
    return ArmRun(arm, "fedavg" if arm == "federated" else "", seed, 4, 8, 0, test)


def test_an_arm_that_lacks_a_hospital_is_left_out_with_its_reason_and_takes_no_patients_from_others() -> None:
    runs = [
        at_hospitals("federated", "ab", 0.8),
        at_hospitals("local", "a", 0.7),
        at_hospitals("local elsewhere", "b", 0.6),  # by the model of the one hospital that has any
        at_hospitals("pooled", "ab", 0.75),
    ]
    summaries, differences = summarize(runs)
    assert [(each.title, each.patients) for each in summaries] == [("federated fedavg", 20), ("pooled", 20)]
    assert [each.second for each in differences] == ["pooled"]
    assert differences[0].difference == pytest.approx(0.05)
    assert keep_complete(runs)[1] == [
        "local, seed 1, is left out: it has no scores on the test patients of b.",
        "local elsewhere, seed 1, is left out: it has no scores on the test patients of a.",
    ]


def test_a_seed_in_which_an_arm_lacks_a_hospital_is_left_out_of_that_arm_alone() -> None:
    runs = [at_hospitals("federated", "ab", 0.8, seed) for seed in (1, 2)]
    runs += [at_hospitals("local", "ab", 0.7), at_hospitals("local", "a", 0.7, seed=2)]
    summaries, _ = summarize(runs)
    assert [(each.arm, each.seeds, each.patients) for each in summaries] == [("federated", 2, 20), ("local", 1, 20)]
    assert keep_complete(runs)[1] == ["local, seed 2, is left out: it has no scores on the test patients of b."]


def test_further_models_that_lack_a_hospital_are_told_as_such() -> None:
    elsewhere = at_hospitals("local elsewhere", "ab", 0.6)
    elsewhere = dataclasses.replace(elsewhere, more_tests=(at_hospitals("", "a", 0.5).test,))
    assert keep_complete([at_hospitals("federated", "ab", 0.8), elsewhere])[1] == [
        "local elsewhere, seed 1, is left out: it has no scores of some models on the test patients of b."
    ]


def test_the_files_of_a_comparison_are_their_owners_alone_and_tell_what_was_left_out(
    nodule_study: Path,
    nodule_hospitals: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    plan = plan_sweep(nodule_study, [nodule_hospitals], tmp_path, ["fedavg"], arms=["federated", "local"])
    make_sweep_folder(plan)
    runs = [at_hospitals("federated", "ab", 0.8), at_hospitals("local", "a", 0.7)]
    monkeypatch.setattr(sweep_outcome, "run_all", lambda *_, **__: [])
    monkeypatch.setattr(arm_runs, "read_arm_runs", lambda *_: [(run, []) for run in runs])
    monkeypatch.setattr(comparison_page, "write_comparison_page", lambda _: None)
    run_comparison(plan)
    told = "local, seed 1, is left out: it has no scores on the test patients of b."
    assert told in " ".join(capsys.readouterr().out.split())
    assert json.loads((plan.folder / "comparison.json").read_bytes())["left_out"] == [told]
    modes = [(plan.folder / name).stat().st_mode & 0o777 for name in ("comparison.json", "patients.csv")]
    assert modes == [0o600, 0o600]


@pytest.mark.slow
def test_all_arms_and_seeds_have_the_same_patients_and_steps(
    nodule_study: Path, nodule_hospitals: Path, tmp_path: Path
) -> None:
    command = [
        "compare",
        str(nodule_study),
        "--data",
        str(nodule_hospitals),
        "--out",
        str(tmp_path),
        "-c",
        "rounds=1",
        "-c",
        "training.local-steps=1",
    ]
    done = CliRunner().invoke(app, [*command, "--seeds", "1,2", "--json"])
    assert done.exit_code == 0, done.output
    record = json.loads(done.stdout)
    arms = {arm["title"]: arm for arm in record["arms"]}
    titles = ["federated fedavg", "fine-tuned fedavg", "local", "local elsewhere", "pooled", "ensemble"]
    assert [(title, arm["seeds"]) for title, arm in arms.items()] == [(title, 2) for title in titles]
    work = {title: (arm["steps"], arm["samples"]) for title, arm in arms.items()}
    once = work.pop("federated fedavg")
    assert work.pop("fine-tuned fedavg") == (2 * once[0], 2 * once[1])  # one round of each
    assert set(work.values()) == {once}
    assert arms["fine-tuned fedavg"]["bytes"] == arms["federated fedavg"]["bytes"] > 0
    assert arms["ensemble"]["bytes"] > arms["local"]["bytes"] == 0
    with (Path(record["folder"]) / "patients.csv").open() as file:
        rows = list(csv.DictReader(file))
    patients: dict[tuple[str, str], set[tuple[str, str]]] = {}
    for row in rows:
        patients.setdefault((row["arm"], row["seed"]), set()).add((row["hospital"], row["patient"]))
        assert (row["model"] == row["hospital"]) == (row["arm"] in ("local", "fine-tuned"))
        assert bool(row["model"]) == (row["arm"] in ("local", "fine-tuned", "local elsewhere"))
    assert len(patients) == 12
    assert len({frozenset(each) for each in patients.values()}) == 1
    again = CliRunner().invoke(app, ["resume", record["folder"], "--json"])
    assert json.loads(again.stdout)["arms"] == record["arms"]
