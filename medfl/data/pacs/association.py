"""Associations with a PACS, and the errors when none can be established."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from medfl.data.pacs.pacs_errors import pacs_error, service_error
from medfl.errors import DataError
from medfl.site.pacs import Pacs

if TYPE_CHECKING:
    from pynetdicom.ae import ApplicationEntity
    from pynetdicom.association import Association
    from pynetdicom.events import Event
    from pynetdicom.presentation import PresentationContext

StoreHandler = Callable[["Event"], int]
_REJECTED_BY_USER, _REJECTED_TRANSIENT = 1, 2  # DICOM PS3.8 table 9-21: source and result of a rejection
_REASONS = {3: "it does not know the calling AE title", 7: "it does not know the called AE title"}
_ALERT_SECONDS = 0.5  # TLS 1.3 servers report a missing client certificate only after the handshake


def make_application_entity(pacs: Pacs) -> ApplicationEntity:
    """Return medfl as a DICOM application entity, with the timeouts that the site sets."""
    from pynetdicom.ae import ApplicationEntity

    ae = ApplicationEntity(pacs.calling_ae_title)
    ae.connection_timeout = ae.acse_timeout = ae.network_timeout = ae.dimse_timeout = float(pacs.timeout)
    return ae


@contextmanager
def associate(
    pacs: Pacs, tls: ssl.SSLContext | None, contexts: Sequence[PresentationContext], on_store: StoreHandler | None = None
) -> Iterator[Association]:
    """Open an association with the PACS; it is released at the end, or aborted after an error.

    Parameters
    ----------
    pacs : Pacs
        PACS of kind ``dimse``.
    tls : SSLContext, optional
        TLS settings; without them, the connection is not encrypted.
    contexts : sequence of PresentationContext
        The first is the service to use, the others what may be received (C-GET).
    on_store : callable, optional
        Handler of the images that are received.

    Raises
    ------
    DataError
        ``PACS-UNREACHABLE``, ``PACS-TLS``, ``PACS-AET`` or ``PACS-REFUSED``.
    """
    from pynetdicom import evt
    from pynetdicom.presentation import build_role

    opened: list[socket.socket] = []

    def remember(event: Event) -> None:
        transport: Any = event.assoc.dul.socket
        opened.append(transport.socket)

    received = dict.fromkeys(context.abstract_syntax for context in contexts[1:])
    handlers: list[Any] = [(evt.EVT_CONN_OPEN, remember), *([(evt.EVT_C_STORE, on_store)] if on_store else [])]
    association = make_application_entity(pacs).associate(
        pacs.host,
        pacs.port,
        contexts=list(contexts),
        ae_title=pacs.ae_title,
        ext_neg=[build_role(uid, scp_role=True) for uid in received if uid],
        tls_args=(tls, pacs.host) if tls else None,
        evt_handlers=handlers,
    )
    try:
        if association.rejected_contexts and not association.accepted_contexts:
            raise service_error()  # pynetdicom has ended the association then
        if not association.is_established:
            raise _association_error(pacs, tls, association)
        if contexts[0].abstract_syntax not in [context.abstract_syntax for context in association.accepted_contexts]:
            raise service_error()
        yield association
        association.release()
    finally:
        if not association.is_released:
            association.abort()
        for connection in opened:
            connection.close()  # pynetdicom leaves it open when the other side closes first


def _association_error(pacs: Pacs, tls: ssl.SSLContext | None, association: Association) -> DataError:
    if association.is_rejected:
        response: Any = association.acceptor.primitive
        if response.result == _REJECTED_TRANSIENT:
            return pacs_error("PACS-REFUSED", "it accepts no further association at the moment")
        if response.result_source == _REJECTED_BY_USER:
            return pacs_error("PACS-AET", _REASONS.get(response.diagnostic, "it gave no reason"))
        return pacs_error("PACS-REFUSED", "it rejected the association")
    try:
        plain = socket.create_connection((pacs.host, pacs.port), pacs.timeout)
    except OSError:
        return pacs_error("PACS-UNREACHABLE")
    with plain:
        if tls and not _accepts_tls(plain, tls, pacs.host):
            return pacs_error("PACS-TLS", "no secure connection to the PACS could be made")
    return pacs_error("PACS-REFUSED", "it aborted the association" + ("" if tls else "; it may require tls = true"))


def _accepts_tls(plain: socket.socket, tls: ssl.SSLContext, host: str) -> bool:
    try:
        with tls.wrap_socket(plain, server_hostname=host) as secured:
            secured.settimeout(_ALERT_SECONDS)
            secured.recv(1)
    except TimeoutError:
        return True  # no complaint: it waits for the association
    except OSError:
        return False
    return True
