"""Pure functions computed once for equal arguments, so that patterns of drop-outs that begin alike cost little."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from medfl.secure_aggregation import masks, server, share_encryption, site, site_checks, unmasking


@pytest.fixture(scope="module")
def computed_once() -> Iterator[None]:
    """Cache signatures, their verification, agreed secrets and seeds of shares while the tests of a module run."""

    def combine(shares: dict[int, bytes], threshold: int) -> bytes:
        return combined(tuple(sorted(shares.items())), threshold)

    def by_key(function: Callable[..., Any]) -> Callable[..., Any]:
        answers: dict[tuple[Any, ...], Any] = {}

        def answer(*arguments: Any) -> Any:
            *rest, key = arguments  # of the tests' keys, which all live to the end
            asked = (*rest, id(key))
            if asked not in answers:
                answers[asked] = function(*arguments)
            return answers[asked]

        return answer

    original = unmasking.combine_shares
    combined = functools.cache(lambda shares, threshold: original(dict(shares), threshold))
    sign, verify, agree = by_key(site.sign), by_key(server.is_signed_by), functools.cache(masks.agree)
    replaced: list[tuple[object, str, Callable[..., Any]]] = [
        (site, "sign", sign),
        (server, "is_signed_by", verify),
        (site_checks, "is_signed_by", verify),
        (masks, "agree", agree),
        (share_encryption, "agree", agree),
        (unmasking, "combine_shares", combine),
    ]
    with pytest.MonkeyPatch.context() as patch:
        for module, name, function in replaced:
            patch.setattr(module, name, function)
        yield
