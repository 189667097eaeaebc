"""Site's side of a codec, in front of the server's, for tests whose replies hold whole models."""

from __future__ import annotations

import dataclasses
from zlib import crc32

from medfl.messages import update_codecs
from medfl.messages.models import Tensors
from medfl.strategies.base.reply import Reply
from medfl.strategies.transforms.reply_transform import ReplyTransform


class Packing(ReplyTransform):
    """Pack each model as its site would."""

    def __init__(self, codec: str, keep: float = 1.0) -> None:
        self._codec, self._keep = codec, keep

    def transform(self, reply: Reply) -> Reply:
        return dataclasses.replace(reply, arrays=packed(self._codec, reply.arrays, reply.start, reply.site, self._keep))


def packed(codec: str, trained: Tensors, sent: Tensors, site: str = "aachen", keep: float = 1.0) -> Tensors:
    update = update_codecs.diff(trained, sent)
    small = {
        "bf16": lambda: update_codecs.to_bf16(update),
        "int8": lambda: update_codecs.to_int8(update, sent, crc32(site.encode())),
        "top-k": lambda: update_codecs.to_top_k(update, keep),
    }[codec]()
    return small | {name: x for name, x in trained.items() if x.dtype.kind != "f"}
