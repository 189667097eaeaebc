"""The table `[policy]` of a site.toml: a hospital's own terms, which neither a study nor a server can loosen."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from medfl.schema import Floats, Number, Section, Strings
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


def _check_noise(values: tuple[float, ...]) -> tuple[float, ...]:
    if values and (len(values) != 2 or values[0] <= 0 or not 0 < values[1] < 1):
        raise ValueError('needs epsilon above 0, and delta between 0 and 1, for example "2,1e-5"')
    return values


MinCount = Annotated[int, AfterValidator(_check_min_count)]


class Policy(Section):
    """Limits on what may leave a site, and on what a study may do there. A maximum of 0 means no limit."""

    min_count: MinCount = 10  # scores over fewer patients, and smaller counts of patients and cases, do not leave; 0: off
    min_cases: Positive = 2  # usable training cases, below which the site declines
    min_patients: NotNegative = 0  # training patients, below which the site declines
    # share of cases left out, above which the site declines
    max_excluded: Annotated[Fraction, BeforeValidator(_check_fraction)] = 0.1
    keep_models: bool = True  # the chosen model of a study, and the site's own, stay here when it was tested
    previews: bool = False  # pictures of test images in the site's own folder
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
    # scores that leave, rounded: the headline in each round and all in a test; all; all and exact; none
    scores: Literal["headline", "all", "exact", "none"] = "headline"
    score_noise: Annotated[Floats, AfterValidator(_check_noise)] = ()  # epsilon, delta: Gaussian noise on scores; empty: none
    max_questions: NotNegative = 0  # that a study may ask in one run
    # a study whose patients differ by few from those of an earlier one: it is refused, or some more are left out of it
    changed_cases: Literal["refuse", "adjust"] = "refuse"
    release: Literal["at-once", "by-hand"] = "at-once"  # by-hand: an answer waits until 'medfl site outbox' lets it go
    # change of a model in a round, as a multiple of the one expected, above which it is an alarm; 0 does not measure it
    max_step: Annotated[Number, Field(ge=0)] = 10.0
    on_alarm: str = ""  # command that is run when the model does not move as training moves it
    on_alarm_refuse: bool = False  # and the message is not answered
    max_megabytes: Annotated[Number, Field(ge=0)] = 0.0  # of one reply
    require: Annotated[Strings, AfterValidator(_check_protections)] = ()  # protections that a study must have
    min_sites: NotNegative = 0  # lowest quorum of the study: replies that each round needs to count
