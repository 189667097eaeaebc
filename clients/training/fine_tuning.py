"""Training of a model that is trained already: a site tunes it for its own patients."""

from __future__ import annotations

import dataclasses

from medfl.clients.training.task import TrainTask
from medfl.study import Study

FINE_TUNED_ARM = "fine-tuned"


def fine_tuning_study(study: Study, rounds: int) -> Study:
    """Return a study of so many rounds whose learning rate goes through the schedule once, without its warm-up."""
    schedule = study.schedule.model_copy(update={"warmup_rounds": 0})
    return study.model_copy(update={"rounds": rounds, "schedule": schedule})


def fine_tuning_task(task: TrainTask) -> TrainTask:
    """Return the task of a round of the arm ``fine-tuned`` as one of a study that has the rounds of this arm alone."""
    return dataclasses.replace(task, study=fine_tuning_study(task.study, task.study.rounds_of(FINE_TUNED_ARM)))
