"""Attack table: what each robust rule withstands of each attack, on the synthetic brain images of `medfl data synth`.

Three synthetic hospitals are cut into 4 and into 8 sites, of which 1 and 2 misbehave. The table gives the Dice of the last
model, not of the best one, over the test patients of the honest sites. ``python -m benchmarks.attacks`` prints the table as
Markdown.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

from medfl import metrics
from medfl.data.synthetic.hospitals import make_brain_hospitals
from medfl.errors import QuorumError
from medfl.runs.history import read_history
from medfl.simulation.simulated_run import SimulatedRun, plan_simulation

PATIENTS = (20, 20, 16)
CUTS = {4: ("hospital-a", "hospital-a", "hospital-b", "hospital-c"), 8: tuple(f"hospital-{c}" for c in "aaabbbcc")}
ATTACKS = ("none", "sign-flip", "scale", "gaussian", "label-flip")
LAST_ONLY = 1000  # evaluation.every: between rounds nothing is scored, so the last model is the chosen one

STUDY = """
[project]
name = "attacks"
version = "1.0.0"
[tool.flwr.app]
publisher = "medfl"
[tool.flwr.app.components]
serverapp = "medfl.server_app:app"
clientapp = "medfl.client_app:app"
[tool.flwr.app.config]
name = "attacks"
rounds = 8
[tool.flwr.app.config.task]
kind = "segmentation"
dimension = 3
modality = "MR"
classes = "background,grey-matter,white-matter"
[tool.flwr.app.config.preprocessing]
spacing = "6,6,6"
crop = "foreground"
intensity = "percentile"
[tool.flwr.app.config.splits]
validation = 0.0
test = 0.4
[tool.flwr.app.config.network]
name = "unet"
channels = "8,16,32"
residual-units = 0
norm = "group"
[tool.flwr.app.config.loss]
name = "dice-ce"
[tool.flwr.app.config.optimizer]
learning-rate = 5e-3
[tool.flwr.app.config.schedule]
name = "cosine"
[tool.flwr.app.config.training]
local-steps = 20
patch = "16,16,16"
[tool.flwr.app.config.evaluation]
every = {every}
surface = "never"
[tool.flwr.app.config.strategy]
name = "fedavg"
[tool.flwr.app.config.simulation]
previews = 0
"""

Changes = dict[str, Any]


def rules(sites: int, bad: int) -> dict[str, Changes]:
    """Return the rules, each with the keys of the study that it changes.

    Krum guarantees nothing with fewer than 2 bad + 3 sites. There it is run with ``malicious = 0``: it still picks the reply
    that is closest to its neighbours.
    """
    malicious = bad if sites >= 2 * bad + 3 else 0
    return {
        "fedavg": {},
        "fedmedian": {"strategy.name": "fedmedian"},
        "fedtrimmedavg": {"strategy.name": "fedtrimmedavg", "strategy.options.beta": bad / sites},
        "krum": {"strategy.name": "krum", "strategy.options.malicious": malicious},
        "multikrum": {
            "strategy.name": "multikrum",
            "strategy.options.malicious": malicious,
            "strategy.options.keep": sites - bad,
        },
        "rfa": {"strategy.name": "rfa"},
        "fedavg, clip-norm": {"filtering.clip-norm": 2.0},
        "fedavg, reject-factor": {"filtering.reject-factor": 2.0},
    }


def cut(hospitals: Path, out: Path, sites: int) -> Path:
    """Distribute the patients of the hospitals over a number of sites, without copying an image."""
    homes = CUTS[sites]
    for k, home in enumerate(homes):
        site = out / f"site-{k + 1}"
        site.mkdir(parents=True)
        text = (hospitals / home / "site.toml").read_text().replace(f'"{home}"', f'"{site.name}"')
        share = f"share = {homes[:k].count(home)}\nshares = {homes.count(home)}\n\n[policy]"
        text = text.replace('root = "data"', f'root = "{hospitals / home / "data"}"').replace("[policy]", share)
        (site / "site.toml").write_text(text)
        (site / "site.secret").write_bytes((hospitals / home / "site.secret").read_bytes())
    return out


def main() -> None:
    """Run everything and print the table."""
    reader = argparse.ArgumentParser(description=__doc__)
    reader.add_argument("--sites", type=int, nargs="*", default=[4, 8], choices=sorted(CUTS))
    reader.add_argument("--rules", nargs="*", default=list(rules(4, 1)), help="names as in the table; all unless given")
    reader.add_argument("--attacks", nargs="*", default=list(ATTACKS), choices=ATTACKS)
    reader.add_argument("--seeds", type=int, default=1)
    reader.add_argument("--rounds", type=int, default=8)
    reader.add_argument("--workers", type=int, default=0)
    asked = reader.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        hospitals = make_brain_hospitals(root / "hospitals", patients=PATIENTS, coarser=2.0)
        (root / "study").mkdir()
        (root / "study" / "pyproject.toml").write_text(STUDY.format(every=LAST_ONLY))
        for sites in asked.sites:
            data, bad = cut(hospitals, root / f"sites-{sites}", sites), sites // 4
            print(f"\n{bad} bad of {sites} sites, {asked.rounds} rounds, {asked.seeds} seed(s)\n")
            print(f"| rule | {' | '.join(asked.attacks)} |\n|{'---|' * (1 + len(asked.attacks))}", flush=True)
            for name in asked.rules:
                changes = rules(sites, bad)[name]
                cells = [_cell(root, data, changes, attack, bad, asked) for attack in asked.attacks]
                print(f"| {name} | {' | '.join(cells)} |", flush=True)
    print(f"\n{time.monotonic() - began:.0f} seconds")


def _cell(root: Path, data: Path, changes: Changes, attack: str, bad: int, asked: argparse.Namespace) -> str:
    scores = []
    for seed in range(asked.seeds):
        places = {"seed": seed, "rounds": asked.rounds, "simulation.store": str(root / "store")}
        wrong = {"simulation.attack": attack, "simulation.attackers": bad}
        simulation = plan_simulation(root / "study", [data], root / "runs", {**changes, **places, **wrong})
        try:
            simulation.start(workers=asked.workers)
        except QuorumError as refusal:
            return refusal.code
        scores.append(honest_score(simulation, bad))
    return f"{sum(scores) / len(scores):.3f}"


def honest_score(simulation: SimulatedRun, bad: int) -> float:
    """Return the score of the tested model over the test patients of all sites but the first `bad`, which are the attackers."""
    (test,) = [event for event in read_history(simulation.run) if event["event"] == "test"]
    honest = [answer["metrics"] for _, answer in sorted(test["sites"].items())[bad:]]
    return metrics.headline(simulation.study, metrics.merge(simulation.study, honest))


if __name__ == "__main__":
    main()
