"""Order of a strategy's arguments, where Flower's class of the same name has another than the fields of ours."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from typing import TypeVar

T = TypeVar("T")


def in_order_of(original: type) -> Callable[[type[T]], type[T]]:
    """Decorate a dataclass so that arguments without names mean what they mean to another class.

    Parameters
    ----------
    original : type
        The class whose place is taken. What it does not have can be given by keyword only.
    """

    def decorate(cls: type[T]) -> type[T]:
        build = cls.__init__
        signature = inspect.signature(build)
        itself, *own = signature.parameters.values()
        first = [name for name in inspect.signature(original).parameters if name in signature.parameters]
        order = [signature.parameters[name].replace(kind=inspect.Parameter.POSITIONAL_OR_KEYWORD) for name in first]
        rest = [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in own if each.name not in first]
        reordered = signature.replace(parameters=[itself, *order, *rest])

        @wraps(build)
        def init(self: T, *args: object, **options: object) -> None:
            given = dict(reordered.bind(self, *args, **options).arguments)
            given.pop(itself.name)
            build(self, **given)

        init.__signature__ = reordered  # type: ignore[attr-defined]
        cls.__init__ = init  # type: ignore[assignment, method-assign]
        return cls

    return decorate
