"""Small updates at the hospital: the trained model is replaced by what it changed, packed by the codec of the study."""

from __future__ import annotations

import dataclasses

from medfl.clients.training.loop import spawn_seed
from medfl.clients.training.session import TrainOutcome
from medfl.clients.training.task import TrainTask
from medfl.messages import update_codecs

_STATE_NAME, _RESIDUAL_KEY = "residual", "update"
_ROUNDING_STREAM = 300  # stream of random numbers of its own


def compress(work: TrainTask, outcome: TrainOutcome) -> TrainOutcome:
    """Return what leaves in place of the model; in the arm where hospitals train alone the model itself.

    With "top-k", what is not sent is kept in the site's state and added to the update of its next round: over all rounds, what
    the server got and what is still here add up to what was trained.

    Parameters
    ----------
    work : Work
        Its study names the codec, its `received` is what the update is measured from.
    outcome : TrainOutcome
        Its `arrays` are what would leave without a codec: layers that stay at the site are not among them.
    """
    codec = work.study.compression.codec
    if codec == "none" or work.arm == "local":
        return outcome
    received = {name: work.received[name] for name in outcome.arrays}
    update = update_codecs.diff(outcome.arrays, received)
    if codec == "bf16":
        small = update_codecs.to_bf16(update)
    elif codec == "int8":
        small = update_codecs.to_int8(update, received, spawn_seed(work.seed, _ROUNDING_STREAM))
    else:
        state = work.require_state()
        if earlier := state.load(_STATE_NAME):
            update += earlier[_RESIDUAL_KEY]
        small = update_codecs.to_top_k(update, work.study.compression.keep)
        update[small[update_codecs.TOP_K]] -= small[update_codecs.VALUES]
        state.save(_STATE_NAME, {_RESIDUAL_KEY: update})
    whole = {name: tensor for name, tensor in outcome.arrays.items() if tensor.dtype.kind != "f"}
    return dataclasses.replace(outcome, arrays=small | whole)
