"""Made-up runs: histories as the round loop writes them, with invented but plausible numbers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from medfl.messages.records import Metrics
from medfl.metrics import CaseScore, classification_metrics, derive, headline, merge, segmentation_metrics
from medfl.runs import Run
from medfl.study import Simulation, Study, StudyApp

SITES = {"harbour-clinic": (38, 6, 11), "north-general": (71, 10, 21), "st-anna": (19, 3, 6), "uni-hospital": (112, 16, 32)}


def study_of(kind: str, classes: str, rounds: int = 12, arms: str = "federated,local", **tables: Any) -> Study:
    segmentation = kind == "segmentation"
    values: dict[str, Any] = {
        "name": "brain-tumour" if segmentation else "chest-findings",
        "seed": 7,
        "rounds": rounds,
        "task": {
            "kind": kind,
            "dimension": 3 if segmentation else 2,
            "modality": "MR" if segmentation else "XR",
            "classes": classes,
        },
        "network": {"name": "unet" if segmentation else "resnet"},
        "loss": {"name": "dice-ce" if segmentation else "cross-entropy"},
        "arms": arms,
    }
    return Study.model_validate(values | tables | ({} if segmentation else {"preprocessing": {"size": "64,64"}}))


class Maker:
    """Writes one made-up run, event by event."""

    def __init__(self, out: Path, study: Study, sites: Mapping[str, tuple[int, int, int]], seed: int = 0) -> None:
        self.study, self.sites, self.rng = study, dict(sites), np.random.default_rng(seed)
        self.run = Run.create(out, StudyApp(study, Simulation(data=("/secret/folder",))))
        self.append = self.run.history.append
        self.append(self.run.start_event())

    def metrics(self, skill: float, patients: int, *, surface: bool = False) -> Metrics:
        names, classes = [f"p{k}" for k in range(patients)], self.study.task.foreground
        loss = 1.2 - skill
        if self.study.task.kind == "segmentation":
            scores = []
            for name in names:
                dice = [float(np.clip(self.rng.normal(skill - 0.1 * k, 0.07), 0, 1)) for k in range(len(classes))]
                case = {
                    c: CaseScore(
                        d,
                        40 * (1 - d) if surface else float("nan"),
                        d**0.5 if surface else float("nan"),
                        missed=d < 0.3,
                        false_positive=False,
                        present=True,
                    )
                    for c, d in zip(classes, dice, strict=True)
                }
                scores.append((name, case))
            return segmentation_metrics(scores, classes, loss)
        labels = [k % len(classes) for k in range(patients)]
        logits = self.rng.normal(0, 1, (patients, len(classes)))
        logits[np.arange(patients), labels] += 4 * max(skill - 0.5, 0)
        shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        return classification_metrics(names, labels, shares, classes, loss)

    def join(self, **excluded: dict[str, int]) -> None:
        for k, (site, (train, validation, test)) in enumerate(self.sites.items()):
            cases = {"train": train + 3 * k, "validation": validation, "test": test}
            self.append(
                {"event": "joined", "site": site, "train": train, "validation": validation, "test": test, "cases": cases}
                | {
                    "excluded": {"DCM-MISSING-SLICES": 2 + k, "LBL-EMPTY": 1} if k % 2 else {},
                    "warnings": {"DCM-DUP-COPY": 3} if k == 1 else {},
                }
                | {"patient-ids": k != 2}
            )

    def train(self, arm: str, rounds: int, trouble: bool = True) -> None:
        ceiling = 0.86 if arm == "federated" else 0.78
        for number in range(1, rounds + 1):
            answers: dict[str, Any] = {}
            for k, (site, (train, validation, _)) in enumerate(self.sites.items()):
                skill = (ceiling - 0.03 * k) * (1 - np.exp(-(number - 1) / 3)) + 0.05
                metrics: Metrics = {"train.loss": 1.4 * float(np.exp(-number / 5)) + 0.1 + 0.03 * k} | self.metrics(
                    skill, validation
                )
                answers[site] = {"status": "ok", "reason": "", "weight": train, "metrics": metrics}
            if trouble and arm == "federated" and number in (3, 7):
                site = sorted(self.sites)[0]
                reason = "" if number == 3 else "[SITE-ERROR] The details are in the log of the site."
                answers[site] = {"status": "late" if number == 3 else "failed", "reason": reason, "weight": 0, "metrics": {}}
            event = {"event": "round", "arm": arm, "round": number, "rounds": self.study.rounds, "sites": answers}
            event |= {"seconds": 41.2 + number, "bytes-up": 4 * 19_250_000, "bytes-down": 4 * 19_250_000}
            self.append(event | {"train": {"train.loss": 1.4 * float(np.exp(-number / 5)) + 0.12}} | self._scored(arm, answers))
        answers = {s: {"metrics": self.metrics(ceiling - 0.02 * k, v)} for k, (s, (_, v, _)) in enumerate(self.sites.items())}
        self.append({"event": "scored", "arm": arm, "round": rounds, "sites": answers} | self._scored(arm, answers))

    def _scored(self, arm: str, answers: Mapping[str, Any]) -> dict[str, Any]:
        metrics = {site: a["metrics"] for site, a in answers.items() if a["metrics"]}
        if arm == "local":
            return {"scores": {site: headline(self.study, merge(self.study, [m])) for site, m in metrics.items()}}
        merged = merge(self.study, list(metrics.values()))
        return {"eval": merged, "derived": derive(self.study, merged), "score": headline(self.study, merged)}

    def test(self, arm: str, best: int, site: str = "", skill: float = 0.84) -> None:
        answers = {}
        for k, (name, (_, _, test)) in enumerate(self.sites.items()):
            here = skill - 0.025 * k + (0.14 if name == site else 0)
            metrics = self.metrics(here, test, surface=True)
            answers[name] = {"metrics": metrics, "derived": derive(self.study, metrics)}
        merged = merge(self.study, [a["metrics"] for a in answers.values()])
        model: dict[str, Any] = {"round": best} | ({"site": site} if site else {})
        self.append(
            {
                "event": "test",
                "arm": arm,
                "model": model,
                "sites": answers,
                "eval": merged,
                "derived": derive(self.study, merged),
            }
        )

    def previews(self, count: int = 3) -> None:
        classes = len(self.study.task.foreground)
        x, y = np.mgrid[0:96, 0:112].astype(np.float32)
        for site in self.sites:
            folder = self.run.site_folder(site) / "previews"
            folder.mkdir(parents=True)
            for k in range(count):
                head = ((x - 48) / 40) ** 2 + ((y - 56) / 48) ** 2
                cx, cy = self.rng.uniform(30, 64), self.rng.uniform(36, 76)
                far = np.hypot(x - cx, (y - cy) * 1.2)
                seen = np.hypot(x - cx - 2 * k, (y - cy + k) * 1.3)
                image = np.where(head < 1, 0.35 + 0.12 * np.cos(x / 5) * np.sin(y / 7) + 0.4 * (far < 13), 0.02)
                image = np.clip(image + self.rng.normal(0, 0.03, image.shape), 0, 1).astype(np.float32)
                truth, found = ((far_ < 14).astype(np.uint8) for far_ in (far, seen))
                if classes > 1:
                    truth, found = truth + (far < 7), found + (seen < 8)
                np.savez_compressed(
                    folder / f"preview-{k + 1}.npz",
                    image=image,
                    truth=truth.astype(np.uint8),
                    prediction=found.astype(np.uint8),
                    dice=0.9 - 0.2 * k,
                )

    def end(self, status: str = "completed", **more: Any) -> Path:
        self.append({"event": "end", "status": status, "seconds": 1284.0, "reason": ""} | more)
        return self.run.path


def complete(maker: Maker, best: int = 11) -> Path:
    """Write a whole run with both arms, and return its folder."""
    maker.join()
    for arm in ("federated", "local"):
        maker.train(arm, maker.study.rounds)
    maker.test("federated", best)
    for site in maker.sites:
        maker.test("local", best, site, skill=0.72)
    if maker.study.task.kind == "segmentation":
        maker.previews()
    return maker.end(**{"best-round": best})
