"""The ClientApp that studies name: wiring only; `medfl.clients.node` answers the messages."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable

from flwr.app import Context, Error, Message
from flwr.clientapp import ClientApp

from medfl.clients import node, node_cache
from medfl.errors import MedflError, safe_reason
from medfl.flower import compat
from medfl.grids import packing

_log = logging.getLogger("medfl.site")

app = ClientApp(mods=[packing.packing_mod])


def _answer_safely(
    answer: Callable[[Message, Context], Message], message: Message, context: Context, *, is_named: bool = True
) -> Message:
    """Return the answer, or an error with its code alone; the details stay in the site's own log.

    A simulated site whose name the server does not know yet puts it before the code.
    """
    try:
        return answer(message, context)
    except Exception as error:
        _log.error("%s", error if isinstance(error, MedflError) else f"[SITE-ERROR] {type(error).__name__}")
        _log.debug("the error above was raised at:\n%s", _format_frames(error))
        name = "" if is_named or "site" in context.node_config else _site_name(context)
        reason = ": ".join(filter(None, (name, safe_reason(error))))
        return Message(Error(compat.ErrorCode.CLIENT_APP_RAISED_EXCEPTION, reason), reply_to=message)


def _site_name(context: Context) -> str:
    try:
        return node_cache.open_node(context).site.name
    except Exception:  # what the site answers is about just this
        return ""


def _format_frames(error: BaseException) -> str:
    """Return where an error was raised, but not its text: that of a foreign exception may hold a path or a name."""
    frames = traceback.extract_tb(error.__traceback__)
    return "\n".join(f"  {frame.filename}:{frame.lineno} in {frame.name}" for frame in frames)


@app.query("join")
def join(message: Message, context: Context) -> Message:
    """Introduce the site, and report how many usable patients it has."""
    return _answer_safely(node.join, message, context, is_named=False)


@app.query("fingerprint")
def fingerprint(message: Message, context: Context) -> Message:
    """Describe the images in sums and counts, so that one plan suits all sites."""
    return _answer_safely(node.fingerprint, message, context)


@app.train()
def train(message: Message, context: Context) -> Message:
    """Score the received model on the validation patients, then train it."""
    return _answer_safely(node.train, message, context)


@app.evaluate()
def evaluate(message: Message, context: Context) -> Message:
    """Score the received model on the patients that the message names."""
    return _answer_safely(node.evaluate, message, context)
