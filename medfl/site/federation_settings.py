"""The table `[federation]` of a site.toml: address of the server, and files of the site's key, approvals and log."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from medfl.schema import Section

ADDRESS_FORM = 'a host and a port, as "fl.example.org:443"'
ADDRESS_PATTERN = r"^(\[[0-9A-Fa-f:]+\]|[^\s:/]+):\d{1,5}$"


class SiteFederation(Section):
    """Settings of a hospital in a federation. Files are named relative to the site.toml."""

    server: Annotated[
        str, Field(pattern=ADDRESS_PATTERN, description=ADDRESS_FORM)
    ]  # "fl.example.org:443": the address that the server publishes
    ca: str = "ca.crt"  # who signs the server's certificate
    key: str = "site.key"  # private, made by `medfl site init`; it never leaves
    certificate: str = "site.crt"  # the site's own, signed by the federation
    approved: str = "approved"  # folder: studies that may run here
    audit: str = "audit.jsonl"  # log of every exchange
    budget: str = "budget"  # folder: what was asked and answered, and a readable copy of all numbers that left
    port: Annotated[int, Field(ge=0, le=65535)] = 0  # of the SuperNode's own interface, on loopback only; 0: a free one
    max_message_megabytes: Annotated[int, Field(ge=1)] = 4096  # of one message of the server: a larger one is refused
