"""The rooms of medfl in `CONTRIBUTING.md`: a picture and a table, made from the import contract and the docstrings.

Write them anew with ``python -m tools.rooms``.
"""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "CONTRIBUTING.md"
_BEGIN = "<!-- Made from the code: python -m tools.rooms -->\n"
_END = "<!-- End of what is made -->\n"
_HOUSE_CONTRACT = "A room imports from lower rooms only"  # the other layers contract orders the modules of one room
_AT_THE_TOP = {"medfl.strategies": "strategies", "medfl.clients": "clients"}  # where the links inside medfl/ lead


def read_layers() -> list[list[str]]:
    """Return the rooms of the import contract, layer by layer: each may import from the layers after its own.

    Returns
    -------
    list of list of str
        Module names, such as ``medfl.study``.
    """
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]["contracts"]
    (layers,) = (contract["layers"] for contract in contracts if contract["name"] == _HOUSE_CONTRACT)
    return [[room.strip() for room in layer.replace("|", ":").split(":")] for layer in layers]


def draw_picture(layers: Sequence[Sequence[str]]) -> str:
    """Return the layers as a Mermaid flow chart, the highest on top.

    Parameters
    ----------
    layers : sequence of sequence of str
        Layers as `read_layers` returns them.
    """
    lines = ["```mermaid", "flowchart TD"]
    for number, layer in enumerate(layers):
        names = " · ".join(room.removeprefix("medfl.") for room in layer)
        lines.append(f'    layer{number}["{names}"]')
    lines += [f"    layer{number - 1} --> layer{number}" for number in range(1, len(layers))]
    return "\n".join([*lines, "```", ""])


def write_table(layers: Sequence[Sequence[str]]) -> str:
    """Return one row a room: where it lies, and the first sentence of its docstring."""
    rows = ["| room | what is in it |", "|---|---|"]
    for layer in layers:
        rows += [f"| `{_place(room)}` | {_summary(room)} |" for room in layer]
    return "\n".join([*rows, ""])


def update_page(text: str) -> str:
    """Return a page with the picture and the table between its markers made anew.

    Raises
    ------
    ValueError
        When a marker is missing.
    """
    before, begin, rest = text.partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not begin or not end:
        raise ValueError(f"{PAGE.name} lacks the lines {_BEGIN.strip()!r} and {_END.strip()!r}.")
    layers = read_layers()
    return f"{before}{begin}{draw_picture(layers)}\n{write_table(layers)}{end}{after}"


def _place(room: str) -> str:
    path = ROOT.joinpath(*room.split("."))
    if path.is_dir():
        return f"{_AT_THE_TOP.get(room, room.replace('.', '/'))}/"
    return f"{room.replace('.', '/')}.py"


def _summary(room: str) -> str:
    path = ROOT / _place(room)
    module = path / "__init__.py" if path.is_dir() else path
    docstring = ast.get_docstring(ast.parse(module.read_text(encoding="utf-8"))) or ""
    return docstring.partition("\n\n")[0].replace("\n", " ")


if __name__ == "__main__":
    PAGE.write_text(update_page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
