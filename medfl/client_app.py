"""The ClientApp that studies name: wiring only.

`medfl.clients.node` computes the answers, `medfl.clients.answering` decides at a hospital which may leave.
"""

from __future__ import annotations

import logging
import traceback

from flwr.app import Context, Error, Message
from flwr.clientapp import ClientApp

from medfl.clients import answering, node, node_cache
from medfl.errors import ExchangeError, MedflError, safe_reason, safe_sentence
from medfl.flower import compat
from medfl.grids import packing

_log = logging.getLogger("medfl.site")


def _close(message: Message, context: Context, call_next: compat.ClientAppCallable) -> Message:
    """Let no failure outside of the handlers leave a hospital but as a code, and no time of the work: the outermost mod."""
    if "site" not in context.node_config:
        return call_next(message, context)
    try:
        reply = call_next(message, context)
    except ExchangeError as error:  # a packed model cannot be read: nothing was asked yet
        _log_error(error)
        reply = _error_reply(message, safe_reason(error))
    except Exception as error:  # an answer cannot be packed, which may depend on what is in it
        _log_error(error)
        reply = _error_reply(message, safe_sentence(answering.NOT_ANSWERED))
    compat.hide_times(reply, message)
    return reply


app = ClientApp(mods=[_close, packing.packing_mod])


def _answer_safely(handle: answering.Handler, message: Message, context: Context, *, is_named: bool = True) -> Message:
    """Return the answer, or an error with its code alone; the details stay in the site's own log.

    A simulated site whose name the server does not know yet puts it before the code.
    """
    try:
        return answering.answer(handle, message, context)
    except Exception as error:
        _log_error(error)
        name = "" if is_named or "site" in context.node_config else _site_name(context)
        return _error_reply(message, ": ".join(filter(None, (name, safe_reason(error)))))


def _error_reply(message: Message, reason: str) -> Message:
    return Message(Error(compat.ErrorCode.CLIENT_APP_RAISED_EXCEPTION, reason), reply_to=message)


def _log_error(error: Exception) -> None:
    """Log an error; of one that is told as ``NOT-ANSWERED``, what it really was."""
    is_cover = isinstance(error, MedflError) and error.code == answering.NOT_ANSWERED
    real = error.__cause__ if is_cover and error.__cause__ is not None else error
    told = f" The server is told [{answering.NOT_ANSWERED}] alone." if real is not error else ""
    _log.error("%s%s", real if isinstance(real, MedflError) else f"[SITE-ERROR] {type(real).__name__}", told)
    _log.debug("the error above was raised at:\n%s", _format_frames(real))


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
