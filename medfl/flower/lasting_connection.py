"""A SuperNode's connection to the server, by private names of Flower: it outlasts what passes, and leaves a sign of life.

Flower's SuperNode takes any error that speaks of TLS for one that will not pass, and leaves its loop. But a middle box that
drops a connection, a full proxy or one that is being restarted end a handshake in the middle, too.
"""

from __future__ import annotations

import contextlib
import ssl
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
from flwr.supercore.heartbeat import HeartbeatSender
from flwr.supercore.retry import RetryInvoker
from flwr.supercore.retry.http_retry import make_simple_http_retry_invoker
from flwr.supernode import fleet_http_connection
from flwr.supernode.fleet_http_client import FleetHttpClient

ACTIVITY_SUFFIX = ".tried"  # of the file beside the sign of life: see medfl.deploy.site_state
_SIGN_INTERVAL = 1.0  # seconds between two signs of life, however often the server answers


def use_lasting_connection(sign: Path | None = None) -> None:
    """Let the SuperNode of this process try again after each failure that may pass.

    Parameters
    ----------
    sign : Path, optional
        File whose time of change is that of the server's last answer.
    """
    names = vars(fleet_http_connection)
    names.update(HeartbeatSender=LastingHeartbeat, make_simple_http_retry_invoker=make_lasting_retries)
    if sign is not None:
        names["FleetHttpClient"] = _signing_client(sign)


def make_lasting_retries() -> RetryInvoker:
    """Return Flower's rules for another attempt, which give up an untrusted certificate, but no handshake that was cut."""
    invoker = make_simple_http_retry_invoker()
    gives_up = invoker.should_giveup

    def should_give_up(error: Exception) -> bool:
        if isinstance(error, httpx.TransportError):
            return _is_untrusted(error)
        return gives_up is not None and bool(gives_up(error))

    invoker.recoverable_exceptions = (httpx.TransportError, httpx.HTTPStatusError)
    invoker.should_giveup = should_give_up
    return invoker


def _is_untrusted(error: BaseException | None) -> bool:
    """Return whether one side does not accept the certificate of the other, which only people can change."""
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return True
        if isinstance(error, ssl.SSLError) and "ALERT" in (error.reason or ""):
            return True
        error = error.__cause__ or error.__context__
    return False


class LastingHeartbeat(HeartbeatSender):
    """Heartbeat that goes on after a failure at the server or its proxy, as when a disk was full for a moment.

    Flower's ends at any status but 502 to 504. Its SuperNode goes on without one, and counts as gone until it is started anew.

    Parameters
    ----------
    send : callable
        Sends one; returns False when it is to be sent again.
    """

    def __init__(self, send: Callable[[], bool]) -> None:
        def send_until_accepted() -> bool:
            try:
                return send()
            except httpx.HTTPStatusError:
                return False

        super().__init__(send_until_accepted)


def _signing_client(sign: Path) -> type[FleetHttpClient]:
    """Return Flower's client of the server, which notes in a file when it last got an answer, and beside it when it last tried.

    Heartbeats are no sign that it tries: they come from a thread of their own, also when the loop hangs.
    """
    touch_sign, touch_activity = _toucher(sign), _toucher(sign.with_suffix(ACTIVITY_SUFFIX))

    class SigningClient(FleetHttpClient):
        def _unary_unary(self, **request: Any) -> Any:
            if not str(request.get("rpc_method", "")).endswith("Heartbeat"):
                touch_activity()
            answer = super()._unary_unary(**request)
            touch_sign()
            return answer

    return SigningClient


def _toucher(file: Path) -> Callable[[], None]:
    """Return a function that touches a file, at most once a second; a full disk must not cost an answer."""
    last = -_SIGN_INTERVAL

    def touch() -> None:
        nonlocal last
        if (now := time.monotonic()) - last >= _SIGN_INTERVAL:
            last = now
            with contextlib.suppress(OSError):
                file.touch(mode=0o600)

    return touch
