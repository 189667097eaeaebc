"""A dishonest server, as an attacker holds it: it asks a hospital with crafted models, and decodes what comes back."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MessageType, RecordDict
from numpy.typing import NDArray

from medfl import client_app
from medfl.clients import node
from medfl.clients.initial_model import build_initial_model
from medfl.flower import compat
from medfl.messages import records
from medfl.study import read_run_config, study_from_run_config
from tests.privacy.crafted_models import (
    Unit,
    craft,
    four_numbers,
    list_confidences,
    list_outcomes,
    list_shares,
    one_number,
    two_numbers,
)
from tests.privacy.payload_hospital import PAYLOAD, SIDE, VALIDATED, Payload

_DICE_STEP = 1 / (10 * VALIDATED)
TRAIN, EVALUATE = MessageType.TRAIN, MessageType.EVALUATE


class DishonestServer:
    """A server that asks one hospital whatever it likes, and waits for nothing.

    Parameters
    ----------
    site : Path
        The ``site.toml`` of the hospital.
    study : Path
        Folder of the study that the hospital approved.
    """

    def __init__(self, site: Path, study: Path) -> None:
        self.site, self.run_config = site, read_run_config(study)
        self.study = study_from_run_config(self.run_config)
        self.first = build_initial_model(self.study)
        self.asked = 0

    def with_study(self, study: Path) -> DishonestServer:
        """Return a server of another study that the same hospital approved."""
        return DishonestServer(self.site, study)

    def ask(self, kind: str, model: ArrayRecord | None = None, *, unbounded: bool = False, **config: Any) -> Message:
        """Send one message; ``unbounded`` goes past the budget, straight to what scores a model."""
        values = {records.RUN: "run-1", records.EXCHANGE: f"x{self.asked}", records.ROUND: 1, records.SPLIT: "validation"}
        values |= {key.replace("_", "-"): value for key, value in config.items()}
        self.asked += 1
        compat.identify_process(7, compat.SERVER_NODE_ID)
        content = RecordDict({records.CONFIG: ConfigRecord(values)})
        if kind != records.JOIN:
            content[records.ARRAYS] = model or self.first
        message = Message(content, dst_node_id=5, message_type=kind)
        compat.assign_message_id(message)
        compat.identify_process(7, 5)
        context = Context(7, 5, {"site": str(self.site)}, RecordDict(), dict(self.run_config))
        return _UNBOUNDED[kind](message, context) if unbounded else client_app.app(message, context)

    def code(self, kind: str, model: ArrayRecord | None = None, **config: Any) -> str:
        """Ask, and return the code of the refusal; empty when the site answered."""
        reply = self.ask(kind, model, **config)
        return reply.error.reason.partition("]")[0].partition("[")[2] if reply.has_error() else ""

    def scores(self, model: ArrayRecord, **config: Any) -> dict[str, Any]:
        """Have a model scored, and return every number of the reply."""
        return dict(self.ask(EVALUATE, model, **config).content.metric_records[records.METRICS])


_UNBOUNDED = {TRAIN: node.train, EVALUATE: node.evaluate, records.JOIN: node.join}


class PayloadReader:
    """Reads a payload that all patients share through every score that a study sends.

    Attributes
    ----------
    bits : float
        Bits read so far: of each number, how much smaller the set of its possible values became. A set without the true value
        counts for nothing.
    """

    def __init__(self, server: DishonestServer, payload: Payload) -> None:
        self.server, self.payload, self.bits, self.place = server, payload, 0.0, 0
        self.masked = payload.mask is not None
        self.outcomes = list_shares(server.study, payload) if self.masked else list_outcomes(server.study)

    def read_run(self, run: str = "run-1") -> None:
        """Ask all that one run of the study may ask, and decode the answers."""
        rounds = self.server.study.rounds
        self.server.ask(records.JOIN, run=run)
        self.server.ask(TRAIN, run=run)  # the first model is not scored
        for number in range(2, rounds + 1):
            self.read(TRAIN, run=run, server_round=number)
        self.read(EVALUATE, run=run, server_round=rounds)
        self.read(EVALUATE, run=run, server_round=rounds + 1, split="test")

    def read(self, kind: str, **config: Any) -> None:
        """Have a model of its own scored, and decode the scores."""
        if self.masked:
            self.place += 1
            model = one_number(self.server.study, self.payload, self.place)
        else:
            self.place += 2
            model = two_numbers(self.server.study, *self._pixels())
        reply = self.server.ask(kind, model, **config)
        if not reply.has_error():
            self._decode(dict(reply.content.metric_records[records.METRICS]))

    def _decode(self, scores: Mapping[str, Any]) -> None:
        if self.masked:
            if scores["eval.patients"] and not scores["eval.hidden"]:
                self._count(self._near(scores["eval.dice.organ"]), self.place)
            return
        for side, pixel, outcomes in zip(("negatives", "positives"), self._pixels(), self.outcomes, strict=True):
            counts = np.array(scores[f"eval.{side}.nodule"])
            if counts.any():
                self._count(outcomes == round(counts @ np.arange(len(counts)) / counts.sum()), pixel)

    def _near(self, dice: float) -> NDArray[np.bool_]:
        """Return which numbers a Dice may mean: those that round to it, and one more on each side."""
        distance = np.abs(self.outcomes - dice)
        (found,) = np.nonzero(distance <= max(_DICE_STEP / 2, distance.min()))
        values = np.arange(256)
        possible: NDArray[np.bool_] = (values >= found.min() - 1) & (values <= found.max() + 1)
        return possible

    def _pixels(self) -> tuple[int, int]:
        return PAYLOAD[self.place - 2], PAYLOAD[self.place - 1]

    def _count(self, possible: NDArray[np.bool_], number: int) -> None:
        if possible[self.payload.values[number]]:
            self.bits += math.log2(256 / np.count_nonzero(possible))


class ExactReader(PayloadReader):
    """Reads four pixels a question out of mean confidences that are not rounded."""

    def __init__(self, server: DishonestServer, payload: Payload) -> None:
        super().__init__(server, payload)
        self.numbers, self.confidences = list_confidences(server.study)

    def read(self, kind: str, **config: Any) -> None:
        """Have a model of its own scored, and decode how sure it is, by class."""
        self.place += 4
        pixels = PAYLOAD[self.place - 4 : self.place]
        reply = self.server.ask(kind, four_numbers(self.server.study, pixels[:2], pixels[2:]), **config)
        if reply.has_error():
            return
        scores = reply.content.metric_records[records.METRICS]
        counts, sums = (np.array(scores[f"eval.calibration-{what}"]) for what in ("count", "confidence"))
        for side, pair in enumerate((pixels[:2], pixels[2:])):
            part = slice(11, None) if side else slice(0, 11)  # the surer ones are the nodules
            if counts[part].any():
                mean, order = sums[part].sum() / counts[part].sum(), slice(None) if side else slice(None, None, -1)
                read = np.interp(mean, self.confidences[side][order], self.numbers[order])
                self.bits += 16.0 if round(read) == self.payload.values[list(pair)] @ (256, 1) else 0.0


class ImageReader:
    """Reads the image of one patient out of exact losses, with as many questions as it takes.

    First it finds a patient who stands out in a random direction, then it lets the score depend on one pixel of that patient.
    """

    def __init__(self, server: DishonestServer, seed: int = 0) -> None:
        self.server = server
        self.direction = np.random.default_rng(seed).choice([-1.0, 1.0], SIDE * SIDE)
        self.even = self._loss([])
        self.place = self._find_place()

    def read(self, pixel: int) -> float:
        """Return the grey value of one pixel of the patient, 0 to 1."""
        inside = self._gate({pixel: 1.0}, 1.0)
        outside = self._gate({}, -1.0)
        change = self._loss([inside, outside]) - self.even
        share = 1.0 / VALIDATED  # of one patient in the mean
        loss = change / share + math.log(2)  # log(1 + exp(z)) of a clear one, log(1 + exp(-z)) of a nodule
        return abs(math.log(math.expm1(loss)))

    def _gate(self, weights: Mapping[int, float], factor: float) -> Unit:
        steep = self.direction * self.slope
        for pixel, weight in weights.items():
            steep[pixel] += weight
        return Unit(steep, -self.place * self.slope, factor)

    def _find_place(self) -> float:
        """Return a place in the direction beyond which there is one patient alone."""
        self.slope, low, high = 1.0, -200.0, 200.0
        for _ in range(30):
            middle = (low + high) / 2
            low, high = (middle, high) if self._counts(middle) else (low, middle)
        top, gap = low, 4.0
        single = {self._counts(top - 1e-3)}
        while self._counts(top - gap) not in single:
            gap /= 2
        self.slope = 8.0 / gap
        return top - gap / 2

    def _counts(self, place: float) -> float:
        """Return how much the loss changes when the patients beyond a place are called nodules for certain."""
        beyond = [Unit(self.direction * 1e4, -place * 1e4 + shift, sign) for shift, sign in ((1.0, 10.0), (0.0, -10.0))]
        return round((self._loss(beyond) - self.even) * VALIDATED, 1)

    def _loss(self, units: Sequence[Unit]) -> float:
        return float(self.server.scores(craft(self.server.study, units), unbounded=True)["eval.loss"])
