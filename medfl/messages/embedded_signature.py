"""The signature of a message on its way: values of a record that travels anyway.

Flower sends each record as an object of its own, with a request of its own, which costs the SuperLink about ten milliseconds of
processor time for each side and site. So the record ``signature`` is put into another one just before a message leaves, and
taken out just after it came: nobody else sees it there, and no digest covers it.
"""

from __future__ import annotations

from flwr.app import ConfigRecord, RecordDict

from medfl.messages.signatures import SIGNATURE

_PREFIX = "signature:"  # no other key of a record begins like that


def embed_signature(content: RecordDict, host: str) -> None:
    """Put the record ``signature`` of a message into another of its records, where both are there.

    Parameters
    ----------
    content : RecordDict
        The message; changed in place. The host is replaced by a copy, as others may hold it.
    host : str
        Name of the configuration record that takes the values.
    """
    signature, record = content.get(SIGNATURE), content.get(host)
    if isinstance(signature, ConfigRecord) and isinstance(record, ConfigRecord):
        del content[SIGNATURE]
        content[host] = ConfigRecord({**record, **{_PREFIX + key: value for key, value in signature.items()}})


def extract_signature(content: RecordDict, host: str) -> None:
    """Make the record ``signature`` again, which `embed_signature` put into another record.

    Parameters
    ----------
    content : RecordDict
        The message; changed in place. One that holds no signature in its host stays as it is.
    host : str
        As for `embed_signature`.
    """
    record = content.get(host)
    if not isinstance(record, ConfigRecord):
        return
    keys = [key for key in record if key.startswith(_PREFIX)]
    if keys:
        content[SIGNATURE] = ConfigRecord({key.removeprefix(_PREFIX): record.pop(key) for key in keys})
