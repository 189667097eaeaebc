"""Checks of the connection to the server, from this machine: the Fleet API answers, the others are hidden, clocks agree."""

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
_SKEW_WARN, _SKEW_FAIL = 30.0, 240.0  # seconds; Flower refuses messages that are 300 seconds off


def check_connection(
    address: str, ca: Path, certificate: Path | None = None, key: Path | None = None, name: str = ""
) -> Iterator[CheckResult]:
    """Check what can be reached at the address that a server publishes.

    Parameters
    ----------
    address : str
        host:port.
    ca : Path
        Certificate of the CA that signed the server's.
    certificate, key : Path, optional
        The site's own, PEM, for a server that asks for one.
    name : str
        Host that the server's certificate must be for; by default the host of the address.
    """
    try:
        context = ssl.create_default_context(cafile=ca)
        if certificate is not None and key is not None:
            context.load_cert_chain(certificate, key)
        with httpx.Client(base_url=f"https://{address}", verify=context, timeout=_TIMEOUT) as client:
            if name:
                client.event_hooks = {"request": [lambda request: request.extensions.update(sni_hostname=name)]}
            response = client.post("/v1/fleet/pull-messages", content=b"")
            yield _check_fleet_api(response)
            yield _check_clock(response)
            yield from _check_hidden(client)
    except (OSError, httpx.HTTPError) as error:
        yield _unreachable_result(address, error)


def _check_fleet_api(response: httpx.Response) -> CheckResult:
    if response.status_code in (502, 503, 504):
        fix = "The proxy is up, but Flower's server behind it is not: start it with 'medfl server up', or wait a moment."
        return CheckResult("FLEET", "error", f"The server's proxy answers {response.status_code}.", fix)
    if _wants_certificate(response):
        fix = "Check that site.crt exists, is of this federation, and is valid. If so, it may be revoked: ask the operator."
        return CheckResult("FLEET", "error", "The server asks for a certificate, and got none that it accepts.", fix)
    if response.status_code in _BLOCKED_STATUS or response.status_code == 200:
        fix = "Check the address: it must be the one that 'medfl server up' publishes."
        return CheckResult("FLEET", "error", f"The Fleet API is not at this address (answer {response.status_code}).", fix)
    return CheckResult("FLEET", "ok", "The Fleet API can be reached, and refuses unsigned requests.")


def _check_clock(response: httpx.Response) -> CheckResult:
    date = response.headers.get("date")
    if not date:
        return CheckResult("CLOCK", "warning", "The server does not send its time.", "Compare the clocks by hand.")
    skew = abs((datetime.now(UTC) - parsedate_to_datetime(date)).total_seconds())
    what = f"This clock is {skew:.0f} s off the server's."
    if skew > _SKEW_FAIL:
        return CheckResult("CLOCK", "error", what, "Flower refuses messages that are 300 seconds off: set the clock by NTP.")
    if skew > _SKEW_WARN:
        return CheckResult("CLOCK", "warning", what, "Set the clock by NTP before they drift further apart.")
    return CheckResult("CLOCK", "ok", what)


def _check_hidden(client: httpx.Client) -> Iterator[CheckResult]:
    exposed = [name for name, path in _HIDDEN_PATHS.items() if not _is_blocked(client.post(path, content=b""))]
    exposed += [name for name, path in _HIDDEN_PATHS.items() if name not in exposed and not _is_blocked(client.get(path))]
    if exposed:
        fix = (
            "Anybody who can reach this address could run code on the server and at every hospital. Publish only what "
            "'medfl server up' publishes, and close the port of Flower's own server."
        )
        yield CheckResult("EXPOSED", "error", f"These can be reached from here: {', '.join(exposed)}.", fix)
    else:
        yield CheckResult("EXPOSED", "ok", "Control API, Runtime API and documentation cannot be reached from here.")


def _is_blocked(response: httpx.Response) -> bool:
    return response.status_code in _BLOCKED_STATUS or _wants_certificate(response)


def _wants_certificate(response: httpx.Response) -> bool:
    """Return whether nginx itself refused a caller without a valid certificate."""
    return response.status_code == 400 and "SSL certificate" in response.text


def _unreachable_result(address: str, error: Exception) -> CheckResult:
    reason = f"{type(error).__name__} {error}"
    if "CERTIFICATE_VERIFY_FAILED" in reason:
        fix = "The server's certificate is not signed by the federation's ca.crt, has expired, or names another host."
    elif "certificate required" in reason or "CERTIFICATE_REQUIRED" in reason:
        fix = "The server asks for the site's certificate: check that site.crt exists and is valid."
    elif "Name or service not known" in reason or "nodename" in reason or "getaddrinfo" in reason:
        fix = "The DNS of this network does not know that name: check its spelling."
    elif "refused" in reason:
        fix = "Nothing listens there: check that the server is up, and the port right."
    else:
        fix = "Ask your network's administrators to allow connections to this address and port, past any web proxy in between."
    return CheckResult("REACH", "error", f"The server at {address} cannot be reached ({type(error).__name__}).", fix)
