"""The table `[policy]` of a site.toml: a hospital's own terms, which neither a study nor a server can loosen."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field

from medfl.schema import Number, Section, Strings
from medfl.study.sections import Fraction, NotNegative, Positive

MIN_NONZERO_COUNT = 5  # hiding fewer protects nobody
PROTECTIONS = ("secure-aggregation", "differential-privacy")
_CLOCK = r"([01]\d|2[0-3]):[0-5]\d"
CLOCK_HOURS_PATTERN = rf"^({_CLOCK}-{_CLOCK})?$"


def _check_min_count(count: int) -> int:
    if count != 0 and count < MIN_NONZERO_COUNT:
        raise ValueError(f"must be 0, which switches the rule off, or at least {MIN_NONZERO_COUNT}")
    return count


def _check_fraction(value: object) -> object:
    if isinstance(value, int | float) and not 0 <= value <= 1:
        raise ValueError("must be a share from 0 to 1: 0.1 = 10 %")
    return value


def _check_protections(words: tuple[str, ...]) -> tuple[str, ...]:
    unknown = sorted(set(words) - set(PROTECTIONS))
    if unknown:
        raise ValueError(f"came {', '.join(unknown)}, allowed: {', '.join(PROTECTIONS)}")
    return words


MinCount = Annotated[int, AfterValidator(_check_min_count)]


class Policy(Section):
    """Limits on what may leave a site, and on what a study may do there. A maximum of 0 means no limit."""

    min_count: MinCount = 10  # scores over fewer patients, and smaller counts of patients and cases, do not leave; 0: off
    min_cases: Positive = 2  # usable training cases, below which the site declines
    min_patients: NotNegative = 0  # training patients, below which the site declines
    # share of cases left out, above which the site declines
    max_excluded: Annotated[Fraction, BeforeValidator(_check_fraction)] = 0.1
    previews: bool = False  # example images in the site's own folder
    extensions: Strings = ()  # algorithms of other installed packages that may run here
    tasks: Strings = ()  # kinds of studies, "segmentation,classification"; empty: all
    modalities: Strings = ()  # of studies, "MR,CT"; empty: all
    max_rounds: NotNegative = 0  # of a study
    max_local_epochs: NotNegative = 0  # a round
    max_local_steps: NotNegative = 0  # a round, for studies that count in steps
    max_minutes: Annotated[Number, Field(ge=0)] = 0.0  # of work for one message, after which it is broken off
    # "19:00-06:30": local hours in which this site works; empty: any
    hours: Annotated[str, Field(pattern=CLOCK_HOURS_PATTERN, description='two times of day, as "19:00-06:30"')] = ""
    metrics: Strings = ()  # names or patterns that may leave, "train.*,eval.dice*"; empty: all
    max_megabytes: Annotated[Number, Field(ge=0)] = 0.0  # of one reply
    require: Annotated[Strings, AfterValidator(_check_protections)] = ()  # protections that a study must have
    min_sites: NotNegative = 0  # lowest quorum of the study: replies that each round needs to count
