"""Decoders of compressed updates: transforms that unpack what `medfl.clients.update_compression` has packed.

Each is the server's part of a codec of `medfl.messages.update_codecs`. They come first among the transforms, so that the others
see a whole model. What an algorithm sends besides the model (SCAFFOLD's control variate) is not compressed, nor is the model on
its way to the sites.
"""

from __future__ import annotations

import dataclasses
from abc import abstractmethod

from medfl.messages import update_codecs
from medfl.messages.models import Tensors
from medfl.strategies.base.reply import Reply
from medfl.strategies.transforms.reply_transform import ReplyTransform


class UpdateDecoder(ReplyTransform):
    """Turn the packed update of each reply into a model; one of another codec, or that does not fit, is left out.

    A model with buffers is refused before the first round: what a codec loses may turn a running variance negative.
    """

    distinguishes_buffers, takes_buffers = True, False

    def transform(self, reply: Reply) -> Reply:
        """Return the reply with the model that its site trained, up to the loss of the codec."""
        parts = self.decode_parts(reply.arrays, reply.start)
        return dataclasses.replace(reply, arrays=update_codecs.apply_update(reply.start, parts, reply.arrays))

    @abstractmethod
    def decode_parts(self, packed: Tensors, start: Tensors) -> update_codecs.TensorParts:
        """Yield the update of each tensor, flattened, or raise ExchangeError."""


class Bf16(UpdateDecoder):
    """Updates in bfloat16: half the bytes of float32, with its range and 8 bits of precision, rounded to nearest."""

    def decode_parts(self, packed: Tensors, start: Tensors) -> update_codecs.TensorParts:
        return update_codecs.from_bf16(packed, start)


class Int8(UpdateDecoder):
    """Updates in 8 bits: 255 even steps for each tensor, rounded at random so that the mean over sites is unbiased.

    Stochastic rounding as in QSGD (Alistarh et al. 2017, https://arxiv.org/abs/1610.02132), with even steps up to the largest
    value of each tensor.
    """

    def decode_parts(self, packed: Tensors, start: Tensors) -> update_codecs.TensorParts:
        return update_codecs.from_int8(packed, start)


class TopK(UpdateDecoder):
    """The largest changes only, 8 bytes each; the rest stays at the site and is added to its next update.

    Sparsification with error feedback (Stich et al. 2018, https://arxiv.org/abs/1809.07599, Algorithm 1), of the update of a
    whole round instead of a gradient. If a reply is lost, its largest changes are lost with it, as without a codec.

    Parameters
    ----------
    keep : float
        Share of the values that are sent; with 0.5 or more nothing is saved.
    """

    def __init__(self, keep: float = 0.01) -> None:
        if not 0 < keep <= 1:
            raise ValueError(f"keep must be above 0 and at most 1, came {keep}")
        self.keep = keep

    def decode_parts(self, packed: Tensors, start: Tensors) -> update_codecs.TensorParts:
        return update_codecs.from_top_k(packed, start, self.keep)
