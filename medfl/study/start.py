"""The start of a study: weights of another model that the network begins with, named by their digests."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import AfterValidator, Field

from medfl.schema import Section, Strings
from medfl.study.algorithms import NO_COMMON_START

if TYPE_CHECKING:
    from medfl.study.study import Study

_DIGEST = "64 hexadecimal digits, which 'medfl study start' writes"
_MOST_LETTERS = 300
_ONE_LINE = f"one line of at most {_MOST_LETTERS} characters that can be printed"


def _check_inside(path: str) -> str:
    parts = path.replace("\\", "/").split("/")
    if path and (parts[0] == "" or ":" in parts[0] or ".." in parts or not path.isprintable()):
        raise ValueError(
            "must be a path inside of the study's folder, or a name in the library of models ('medfl models list'), since the "
            "study travels to the hospitals"
        )
    return path


def _check_line(text: str) -> str:
    if len(text) > _MOST_LETTERS or not text.isprintable():  # a hospital reads it: no controls, no change of direction
        raise ValueError(f"must be {_ONE_LINE}")
    return text


def _check_hashes(studies: tuple[str, ...]) -> tuple[str, ...]:
    if any(len(study) != 64 or set(study) - set("0123456789abcdef") for study in studies):
        raise ValueError("needs the hash of each study, 64 hexadecimal digits, with commas between them")
    return studies


Digest = Annotated[str, Field(pattern=r"^([0-9a-f]{64})?$", description=_DIGEST)]
Line = Annotated[str, AfterValidator(_check_line), Field(description=_ONE_LINE)]


class Start(Section):
    """Weights that the network begins with, instead of some drawn from the seed; empty: those of the seed."""

    file: Annotated[str, AfterValidator(_check_inside)] = ""
    sha256: Digest = ""  # of the file
    arrays: Digest = ""  # of the first model, by `medfl.messages.array_digest`: by it a hospital without file knows it
    name: Line = ""
    source: Line = ""
    licence: Line = ""
    studies: Annotated[Strings, AfterValidator(_check_hashes)] = ()  # that trained it, each by its hash
    patients: Literal["refuse", "move"] = "refuse"  # where it was trained on whom a hospital would test now
    channels: Literal["refuse", "mean", "repeat", "zero"] = "refuse"  # where the file takes another number of image channels
    head: Literal["refuse", "new"] = "refuse"  # where the file has other classes
    missing: Literal["refuse", "new"] = "refuse"  # where the file has not all other layers, as one of an encoder alone

    @property
    def is_given(self) -> bool:
        """Whether the network begins with other weights than those of the seed."""
        return bool(self.file)


def start_problems(study: Study) -> Iterator[str]:
    """Yield what does not fit together in a study about its start, each sentence after its key."""
    start = study.start
    if not start.is_given:
        if start != Start():
            yield "start.file: is missing; 'medfl study start STUDY MODEL' writes the whole table"
        if study.network.norm == "batch-frozen":
            yield "network.norm: 'batch-frozen' keeps the batch norm of start weights, and this study has no table 'start'"
        return
    if not (start.sha256 and start.arrays):
        yield "start: 'sha256' and 'arrays' are missing; write them with: medfl study start STUDY MODEL"
    if study.strategy.name in NO_COMMON_START:
        yield (
            f"start: with {study.strategy.name!r} a hospital's first model may be trained already, so that it could not be "
            f"verified; take another algorithm"
        )
    if study.network.norm == "batch-frozen" and study.strategy.name == "scaffold":
        yield "network.norm: 'batch-frozen' does not go with 'scaffold', whose control variates are of every parameter"
    if "norm" in study.local_layers:
        yield "start: normalisation layers that stay at the hospitals would not begin with the file; take another algorithm"
    if "head" in study.local_layers and start.head != "new":
        yield "start.head: the head stays at the hospitals and begins anew; say so with head = 'new'"
