"""Tables for notebooks: pandas, an extra that is imported when a table is asked for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from medfl.errors import RunError

if TYPE_CHECKING:
    import pandas


def to_frame(rows: Iterable[Mapping[str, Any]], columns: Sequence[str]) -> pandas.DataFrame:
    """Return rows as a table with these columns, also when there is none.

    Raises
    ------
    RunError
        ``PANDAS-MISSING``.

    Examples
    --------
    >>> to_frame([{"site": "north", "dice": 0.9}], ["site", "dice"]).shape
    (1, 2)
    """
    try:
        import pandas
    except ImportError:
        what = "the package pandas, which makes tables for notebooks, is not installed."
        raise RunError("PANDAS-MISSING", what, "Install it: pip install 'flwr-medfl[notebook]'.") from None
    return pandas.DataFrame(list(rows), columns=list(columns))
