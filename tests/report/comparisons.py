"""Made-up comparisons for their page: runs, scores of patients and the table, as `medfl compare` leaves them."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from medfl.study import Study
from tests.report.made_runs import Maker, study_of

SITES = {"harbour-clinic": (38, 6, 11), "north-general": (71, 10, 21), "st-anna": (19, 3, 6)}
_GAINS = {"federated": 0.1, "local": 0.0, "pooled": 0.12}


def make_comparison(
    folder: Path, kind: str = "segmentation", sites: Mapping[str, tuple[int, int, int]] = SITES, seeds: Sequence[int] = (1, 2)
) -> Path:
    """Write a finished comparison of fedavg with the arms local and pooled, and return its folder."""
    classes = "background,tumour" if kind == "segmentation" else "normal,pneumonia"
    rows: list[dict[str, Any]] = []
    runs: list[dict[str, Any]] = []
    for seed in seeds:
        for strategy, arms in (("fedavg", "federated"), ("", "local,pooled")):
            study = study_of(kind, classes, rounds=3, arms=arms)
            maker = Maker(folder / "runs", study, sites, seed)
            maker.join()
            for arm in arms.split(","):
                maker.train(arm, 3)
                for owner in sites if arm == "local" else [""]:
                    maker.test(arm, 2, owner)
                rows += _patient_rows(arm, strategy, seed, study, sites, maker)
            runs.append({"strategy": strategy, "seed": seed, "path": str(maker.end().relative_to(folder))})
    record = {"study": study.name, "seeds": list(seeds), "failed": [], "runs": runs} | _table(kind, sites, seeds)
    (folder / "comparison.json").write_text(json.dumps(record))
    with (folder / "patients.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ("arm", "strategy", "seed", "model", "hospital", "patient", "class", "truth", "value"))
        writer.writeheader()
        writer.writerows(rows)
    return folder


def set_difference(folder: Path, second: str, **values: Any) -> None:
    """Change what the table says of the difference to an arm."""
    record = json.loads((folder / "comparison.json").read_text())
    next(each for each in record["differences"] if each["second"] == second).update(values)
    (folder / "comparison.json").write_text(json.dumps(record))


def _table(kind: str, sites: Mapping[str, tuple[int, int, int]], seeds: Sequence[int]) -> dict[str, Any]:
    titles = {"federated": "federated fedavg", "local": "local", "pooled": "pooled"}
    bins = [
        {"low": k / 15, "high": (k + 1) / 15, "count": 4, "confidence": (k + 0.5) / 15, "accuracy": k / 15} for k in (9, 11, 14)
    ]
    errors = {"ece": 0.1, "ece_interval": [0.05, 0.2], "ece_if_calibrated": 0.08, "brier": 0.2, "brier_interval": None}
    calibration = errors | {"bins": bins} if kind == "classification" else None
    arms = []
    for arm, title in titles.items():
        score = 0.7 + _GAINS[arm]
        hospitals = [
            {
                "hospital": site,
                "patients": test,
                "score": score - 0.01 * k,
                "interval": [0.5, 0.9],
                "joint_interval": [0.4, 0.95],
            }
            for k, (site, (*_, test)) in enumerate(sites.items())
        ]
        work = {"steps": 120, "samples": 960, "bytes": 40_000_000 if arm == "federated" else 0, "calibration": calibration}
        told = {"title": title, "arm": arm, "strategy": title.partition(" ")[2], "score": score, "interval": [0.6, 0.9]}
        told |= {"patients": sum(test for *_, test in sites.values()), "seeds": len(seeds)}
        told |= {"seed_scores": {str(seed): score for seed in seeds}, "seed_sd": 0.01 if len(seeds) > 1 else None}
        arms.append(told | work | {"hospitals": hospitals, "lowest_hospital": hospitals[-1]})
    head: dict[str, Any] = {"first": "federated fedavg", "interval": [0.04, 0.16], "p_value": 0.004, "needed": None}
    head |= {"effect": {"measure": "rank-biserial", "value": 0.6, "interval": None}, "margin": None, "not_inferior": None}
    differences = [
        head | {"second": "local", "difference": 0.1, "verdict": "higher"},
        head | {"second": "pooled", "difference": -0.02, "interval": [-0.05, 0.01], "p_value": 0.2, "verdict": "not known"},
    ]
    return {"arms": arms, "differences": differences}


def _patient_rows(
    arm: str, strategy: str, seed: int, study: Study, sites: Mapping[str, tuple[int, int, int]], maker: Maker
) -> list[dict[str, Any]]:
    rng = np.random.default_rng(seed + 10 * len(arm))
    rows = []
    for site, (_, _, test) in sites.items():
        of_site: dict[str, Any] = {}
        for k in range(test):
            patient = f"pat-{site[:3].upper()}{k:012d}"
            head = {"arm": arm, "strategy": strategy, "seed": seed, "hospital": site, "patient": patient}
            head["model"] = site if arm == "local" else ""
            if study.task.kind == "segmentation":
                dice = float(np.clip(rng.normal(0.7 + _GAINS[arm], 0.08), 0, 1))
                rows.append(head | {"class": "tumour", "truth": "", "value": dice})
                of_site[patient] = {"classes": {"tumour": {"dice": dice}}}
            else:
                found = k % 2
                share = float(np.clip(rng.normal(0.35 + 0.3 * found + _GAINS[arm] * (2 * found - 1), 0.2), 0.01, 0.99))
                shares = dict(zip(study.task.classes, (1 - share, share), strict=True))
                rows += [
                    head | {"class": name, "truth": int(k == found), "value": v} for k, (name, v) in enumerate(shares.items())
                ]
                of_site[patient] = [{"truth": study.task.classes[found], "probabilities": shares}]
        if arm == "local":
            for owner in sites:
                file = maker.run.site_folder(site) / "local" / owner / "test.json"
                file.parent.mkdir(parents=True)
                file.write_text(json.dumps({"patients": of_site}))
    return rows
