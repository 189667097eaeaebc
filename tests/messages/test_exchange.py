"""Matching of replies to what was sent, also among many messages and after one was sent again."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from medfl.messages.exchange import SentMessages


class Sent:
    """A message that counts how often its identifier is looked at."""

    looks = 0

    def __init__(self, identifier: str, node: int) -> None:
        self._metadata = SimpleNamespace(message_id=identifier, dst_node_id=node)

    @property
    def metadata(self) -> Any:
        Sent.looks += 1
        return self._metadata


def reply_to(identifier: str) -> Any:
    return SimpleNamespace(metadata=SimpleNamespace(reply_to_message_id=identifier))


def test_the_work_of_matching_grows_with_the_replies_and_not_with_their_square() -> None:
    messages: Any = [Sent(f"m{k}", k) for k in range(1000)]
    sent = SentMessages(messages)
    Sent.looks = 0
    assert [sent.find_node(reply_to(f"m{k}")) for k in range(1000)] == list(range(1000))
    assert Sent.looks < 6 * 1000


def test_a_message_that_was_sent_again_is_found_by_its_new_identifier_alone() -> None:
    messages: Any = [Sent("a", 1), Sent("b", 2)]
    sent = SentMessages(messages)
    assert sent.find_node(reply_to("a")) == 1
    messages[0]._metadata.message_id = "a2"
    assert (sent.find_node(reply_to("a2")), sent.find_node(reply_to("a")), sent.find_node(reply_to("b"))) == (1, None, 2)


def test_a_reply_to_nothing_that_was_sent_has_no_node() -> None:
    messages: Any = [Sent("", 1)]
    assert SentMessages(messages).find_node(reply_to("")) is None
