"""The way to the server, seen from where this runs: is the Fleet API there, are the others hidden, do the clocks agree."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path

import httpx

from medfl.deploy.doctor.check_result import CheckResult

_TIMEOUT = 10.0  # seconds
_HIDDEN_PATHS = {
    "Control API": "/v1/control/list-runs",
    "Runtime API": "/v1/runtime/acquire-task",
    "documentation": "/docs",
    "health page": "/health",
    "registration of nodes": "/v1/fleet/register-node",
}
_BLOCKED_STATUS = (403, 404)
_SKEW_WARN, _SKEW_FAIL = 30.0, 240.0  # seconds; Flower refuses messages that are 300 seconds old


def check_connection(
    address: str, ca: Path, certificate: Path | None = None, key: Path | None = None, name: str = ""
) -> Iterator[CheckResult]:
    """Check what can be reached at the address that a server publishes.

    Parameters
    ----------
    address : str
        host:port.
    ca : Path
        Certificate of who signed the server's.
    certificate, key : Path, optional
        The site's own, PEM, for a server that asks for one.
    name : str
        That the server's certificate must be for; the host of the address unless given.
    """
    try:
        context = ssl.create_default_context(cafile=ca)
        if certificate is not None and key is not None:
            context.load_cert_chain(certificate, key)
        with httpx.Client(base_url=f"https://{address}", verify=context, timeout=_TIMEOUT) as client:
            if name:
                client.event_hooks = {"request": [lambda request: request.extensions.update(sni_hostname=name)]}
            answer = client.post("/v1/fleet/pull-messages", content=b"")
            yield _check_fleet_api(answer)
            yield _check_clock(answer)
            yield from _check_hidden(client)
    except (OSError, httpx.HTTPError) as error:
        yield _unreachable_result(address, error)


def _check_fleet_api(answer: httpx.Response) -> CheckResult:
    if answer.status_code in (502, 503, 504):
        fix = "The proxy is up and Flower's server behind it is not: start it with 'medfl server up', or wait a moment."
        return CheckResult("FLEET", "error", f"The server's proxy answers {answer.status_code}.", fix)
    if _wants_certificate(answer):
        fix = "Is site.crt there, of this federation, and valid? If it is, the operator has taken it back: ask."
        return CheckResult("FLEET", "error", "The server asks for a certificate, and got none that it takes.", fix)
    if answer.status_code in _BLOCKED_STATUS or answer.status_code == 200:
        fix = "Check the address: it must be the one that 'medfl server up' publishes."
        return CheckResult("FLEET", "error", f"The Fleet API is not at this address (answer {answer.status_code}).", fix)
    return CheckResult("FLEET", "ok", "The Fleet API is reached, and refuses who does not sign.")


def _check_clock(answer: httpx.Response) -> CheckResult:
    told = answer.headers.get("date")
    if not told:
        return CheckResult("CLOCK", "warning", "The server does not tell its time.", "Compare the clocks by hand.")
    skew = abs((datetime.now(UTC) - parsedate_to_datetime(told)).total_seconds())
    what = f"This clock is {skew:.0f} s off the server's."
    if skew > _SKEW_FAIL:
        return CheckResult("CLOCK", "error", what, "Flower refuses messages that are 300 seconds off: set the clock by NTP.")
    if skew > _SKEW_WARN:
        return CheckResult("CLOCK", "warning", what, "Set the clock by NTP before they drift further apart.")
    return CheckResult("CLOCK", "ok", what)


def _check_hidden(client: httpx.Client) -> Iterator[CheckResult]:
    open_ones = [name for name, path in _HIDDEN_PATHS.items() if not _is_blocked(client.post(path, content=b""))]
    open_ones += [name for name, path in _HIDDEN_PATHS.items() if name not in open_ones and not _is_blocked(client.get(path))]
    if open_ones:
        fix = (
            "Anybody who reaches this address could run code on the server and at every hospital. Publish only what "
            "'medfl server up' publishes, and close the port of Flower's own server."
        )
        yield CheckResult("EXPOSED", "error", f"From here these are open: {', '.join(open_ones)}.", fix)
    else:
        yield CheckResult("EXPOSED", "ok", "Control, Runtime and documentation cannot be reached from here.")


def _is_blocked(answer: httpx.Response) -> bool:
    return answer.status_code in _BLOCKED_STATUS or _wants_certificate(answer)


def _wants_certificate(answer: httpx.Response) -> bool:
    """Tell nginx's own refusal of a caller without a good certificate from an answer of what is behind it."""
    return answer.status_code == 400 and "SSL certificate" in answer.text


def _unreachable_result(address: str, error: Exception) -> CheckResult:
    told = f"{type(error).__name__} {error}"
    if "CERTIFICATE_VERIFY_FAILED" in told:
        fix = "The server's certificate is not signed by the federation's ca.crt, is expired, or names another host."
    elif "certificate required" in told or "CERTIFICATE_REQUIRED" in told:
        fix = "The server asks for the site's certificate: is site.crt there, and valid?"
    elif "Name or service not known" in told or "nodename" in told or "getaddrinfo" in told:
        fix = "The name is not known to the DNS of this network: check it for misspelling."
    elif "refused" in told:
        fix = "Nobody listens there: is the server up, and the port right?"
    else:
        fix = "Ask the network's people to open the way out to this address and port, past any web proxy in between."
    return CheckResult("REACH", "error", f"The server at {address} cannot be reached ({type(error).__name__}).", fix)
