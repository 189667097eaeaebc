"""The invented federation that comes with medfl, as fixtures."""

from __future__ import annotations

import pytest
from flwr.app import ArrayRecord

from medfl.flower import compat
from medfl.messages import records
from medfl.testing.fake_grid import FakeGrid, make_model, reply_with_content, reply_with_error, reply_with_model


@pytest.fixture(autouse=True)
def _process() -> None:
    compat.identify_process(1, compat.SERVER_NODE_ID)


@pytest.fixture
def initial() -> ArrayRecord:
    return records.to_array_record(make_model(0.0))


@pytest.fixture
def fake() -> type[FakeGrid]:
    return FakeGrid


class Make:
    """Makers of replies."""

    trained, failed, contents, model = (
        staticmethod(reply_with_model),
        staticmethod(reply_with_error),
        staticmethod(reply_with_content),
        staticmethod(make_model),
    )


@pytest.fixture
def make() -> type[Make]:
    return Make
