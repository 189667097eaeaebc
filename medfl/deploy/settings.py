"""Settings of a federation's server: the tables of ``federation.toml``."""

from __future__ import annotations

import ipaddress
import re
import shlex
from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from medfl.schema import Section
from medfl.site.federation_settings import ADDRESS_FORM, ADDRESS_PATTERN
from medfl.study.sections import Positive

_HOST = r"(?=.{1,253}$)[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?(\.[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?)*"


def _check_name(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9 _.-]{0,63}", name):
        raise ValueError("must be 1 to 64 letters (a to z), digits, spaces, '.', '_' or '-', and begin with a letter or digit")
    return name


def _check_address(address: str) -> str:
    """Accept only what can be written into a certificate and into the configuration of nginx."""
    host, _, port = address.rpartition(":")
    if not 1 <= int(port) <= 65535:
        raise ValueError("the port must be a number from 1 to 65535")
    if host.startswith("["):
        ipaddress.IPv6Address(host[1:-1])
    elif not re.fullmatch(_HOST, host):
        raise ValueError(
            "the host must be an IP address, or a name of letters (a to z), digits, '-' and '.'; other letters as xn--..."
        )
    return address


def _check_loopback(address: str) -> str:
    """Accept an address of this machine alone: what is told there is for its operator, and asks nobody for a name."""
    host, _, port = address.rpartition(":")
    if address and not (host == "127.0.0.1" and port.isdigit() and 1 <= int(port) <= 65535):
        raise ValueError('must be an address of this machine alone, as "127.0.0.1:9464"')
    return address


def _check_command(command: str) -> str:
    try:
        shlex.split(command)
    except ValueError:
        raise ValueError("is not a command: a quotation mark is missing") from None
    return command


Address = Annotated[str, Field(pattern=ADDRESS_PATTERN, description=ADDRESS_FORM), AfterValidator(_check_address)]
FederationName = Annotated[str, AfterValidator(_check_name)]
Port = Annotated[int, Field(ge=1, le=65535)]


class SuperLinkSettings(Section):
    """Flower's own server."""

    port: Port  # on loopback only
    max_site_megabytes: Positive = 4096  # of replies of one site that no run has taken yet; beyond it they are dropped


class ProxySettings(Section):
    """The proxy, which is published."""

    listen: Address  # address and port of this machine, "0.0.0.0:443" for all of its addresses
    client_certificates: bool = True  # refuse every caller without a certificate of this federation, before anything else
    max_body_megabytes: Positive = 64  # largest request; a model comes in pieces of 5 MiB


class IdentitySettings(Section):
    """Time for which a site belongs to the federation unless it is renewed."""

    days: Positive = 365
    warn_days: Positive = 30

    @model_validator(mode="after")
    def _warns_in_time(self) -> Self:
        if self.warn_days >= self.days:
            raise ValueError("'warn-days' must be less than 'days'")
        return self


class MonitorSettings(Section):
    """What tells the operator of trouble."""

    listen: Annotated[str, AfterValidator(_check_loopback)] = ""  # 127.0.0.1:PORT for /health and /metrics; "": none
    on_failure: Annotated[str, AfterValidator(_check_command)] = ""  # command that is started when a run fails or dies


class FederationSettings(Section):
    """A federation's server."""

    name: FederationName
    address: Address  # at which the hospitals reach the server
    superlink: SuperLinkSettings
    proxy: ProxySettings
    identities: IdentitySettings = IdentitySettings()
    monitor: MonitorSettings = MonitorSettings()
