"""How a study is simulated and how it is served: two tables beside a study that no hospital reads or approves."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from medfl.errors import ConfigError, Problem
from medfl.errors.validation import InconsistentError
from medfl.schema import Floats, Number, Section, Strings
from medfl.study.sections import Fraction, NotNegative, Sites
from medfl.study.study_file import STUDY_FILE
from medfl.study.task import Task

Partition = Literal["auto", "none", "column", "random", "label-skew", "quantity-skew", "positives"]
Strength = Annotated[Number, Field(ge=0, lt=1)]

_DIVISIONS = {  # partitions that divide the patients of a folder among hospitals, and the keys that say how, beside `sites`
    "random": (),
    "label-skew": ("alpha",),
    "quantity-skew": ("alpha", "shares"),
    "positives": ("positives", "shares"),
}


class Server(Section):
    """Settings that the server alone reads."""

    out: str = ""  # absolute folder for runs; empty: MEDFL_RUNS, else a folder of the user's home
    run: str = ""  # name of the run's folder; empty: made of the time and a random part
    resume: bool = False  # continue the run of that name
    start: str = ""  # file of start weights: its name beside a submitted run, or else its path; empty: one of the library
    enrolled: Strings = ()  # names of the hospitals of the federation; a run reports which of them are missing


class Simulation(Section):
    """The simulated hospitals; a bundle for a real federation holds nothing of this table."""

    data: Strings = ()  # absolute folders
    store: str = ""  # absolute folder for prepared data; empty: the user's cache
    previews: Annotated[int, Field(ge=0, le=12)] = 3  # example overlays a site, segmentation
    partition: Partition = "auto"  # auto: folders with a site.toml, else one site
    column: str = ""  # of the CSV index, for partition = "column"
    sites: NotNegative = 0  # into how many hospitals the partitions after "column" divide a folder
    alpha: Annotated[Number, Field(ge=0)] = 0.0  # of the Dirichlet distribution of a skew; small: unlike hospitals
    shares: Floats = ()  # of the patients, one for each hospital
    positives: Floats = ()  # share of patients of the second class at each hospital
    where: str = ""  # "column=a|b" keeps rows of the CSV index; "column!=" drops the empty ones
    image: str = "image"  # column of the CSV index, or a pattern as "images/{id}.nii.gz"
    label: str = "label"
    patient: str = "patient"  # column; empty: one image is one patient
    subgroups: Annotated[  # columns of the CSV index whose groups of patients `medfl compare` scores apart
        Strings, Field(exclude_if=lambda value: not value)
    ] = ()
    max_excluded: Fraction = 0.1  # share of all cases left out, above which the study does not start
    attack: Literal["none", "sign-flip", "scale", "gaussian", "label-flip"] = "none"  # of some sites, to try robust rules
    attackers: Sites = ("1",)  # how many sites, the first by name; or their names
    attack_strength: Annotated[Number, Field(gt=0)] = 10.0  # factor on the honest update; not used by "label-flip"
    # simulated scanners: each hospital draws a fixed shift up to these strengths (`medfl.data.preprocess.scanner_shift`)
    scanner_sites: Sites = ()  # with a scanner of their own: how many, the first by name, or their names; empty: all
    scanner_gain: Strength = 0.0  # factor on grey values, 1 - gain .. 1 + gain
    scanner_contrast: Strength = 0.0  # exponent of grey values, 1 - contrast .. 1 + contrast
    scanner_bias: Strength = 0.0  # smooth shading, factors up to 1 + bias and down to its inverse
    scanner_noise: Strength = 0.0  # standard deviation of Gaussian noise at most, as a share of that of the image
    scanner_resolution: Strength = 0.0  # share of the samples along each axis that is lost at most

    @property
    def site_count(self) -> int:
        """Hospitals that the partition divides a folder into; 0: it does not divide by patients."""
        return max(self.sites, len(self.shares), len(self.positives)) if self.partition in _DIVISIONS else 0

    @property
    def scanner_strengths(self) -> dict[str, float]:
        """Strengths of the simulated scanners that are not 0, by the last word of their keys."""
        values = {key: float(getattr(self, f"scanner_{key}")) for key in ("gain", "contrast", "bias", "noise", "resolution")}
        return {key: value for key, value in values.items() if value}

    def choose_sites(self, key: str, sites: Collection[str]) -> frozenset[str]:
        """Return the hospitals that a key chooses: the first by name where it is a number, or those that it names.

        Parameters
        ----------
        key : {"attackers", "scanner-sites"}
            The key.
        sites : collection of str
            Names of all hospitals.

        Raises
        ------
        ConfigError
            When there are fewer, or none of a given name.
        """
        chosen: tuple[str, ...] = getattr(self, key.replace("-", "_"))
        if len(chosen) == 1 and chosen[0].isdigit() and int(chosen[0]) <= len(sites):
            return frozenset(sorted(sites)[: int(chosen[0])])
        if not set(chosen) <= set(sites):
            what = f"came {','.join(chosen)!r}, allowed: a number up to {len(sites)}, or names of {', '.join(sorted(sites))}."
            raise ConfigError([Problem(STUDY_FILE, f"simulation.{key}", what)])
        return frozenset(chosen)

    @model_validator(mode="after")
    def _check_partition(self) -> Self:
        problems = []
        if self.partition == "column" and not self.column:
            problems.append(("column", "partition = 'column' needs the name of a column here"))
        for key, value, partition in (("column", self.column, "column"), ("sites", self.sites, "random")):
            if value and "partition" not in self.model_fields_set:
                problems.append((key, f"does nothing without a partition; write partition = {partition!r}, or leave it out"))
        problems += [*self._unused_keys(), *(self._division_problems() if self.partition in _DIVISIONS else ())]
        if self.scanner_sites and not self.scanner_strengths:
            problems.append(("scanner-sites", "does nothing without a strength, for example scanner-gain = 0.2"))
        if problems:
            raise InconsistentError(problems)
        return self

    def _unused_keys(self) -> Iterator[tuple[str, str]]:
        """Yield keys of a division that the partition does not have."""
        for key in ("alpha", "shares", "positives"):
            if getattr(self, key) and key not in _DIVISIONS.get(self.partition, ()):
                able = " or ".join(repr(name) for name, keys in _DIVISIONS.items() if key in keys)
                yield key, f"does nothing with partition = {self.partition!r}; write partition = {able}, or leave it out"

    def _division_problems(self) -> Iterator[tuple[str, str]]:
        """Yield what is wrong with the numbers of a division."""
        name = f"partition = {self.partition!r}"
        if self.partition == "positives" and not self.positives:
            yield "positives", f'{name} needs a share for each hospital here, for example "0.1,0.5,0.9"'
        elif self.site_count < 2:
            yield "sites", f"{name} needs 2 or more here"
        if self.partition == "label-skew" and not self.alpha:
            yield "alpha", f"{name} needs a number above 0 here: 0.1 makes hospitals very unlike, 100 nearly alike"
        if self.partition == "quantity-skew" and bool(self.alpha) == bool(self.shares):
            yield "shares", f"{name} needs either 'alpha', or the share of each hospital here, for example \"0.6,0.3,0.1\""
        if any(not 0 <= share <= 1 for share in self.positives):
            yield "positives", "every share must be from 0 to 1"
        if self.shares and (min(self.shares) <= 0 or round(sum(self.shares), 2) != 1):
            yield "shares", f"every share must be above 0, and together they must be 1; they are {sum(self.shares):g}"
        for key in ("shares", "positives"):
            if (given := len(getattr(self, key))) and given != self.site_count:
                yield key, f"holds {given} numbers for {self.site_count} hospitals"

    def task_problems(self, task: Task) -> Iterator[tuple[str, str]]:
        """Yield the key and the problem of a partition that cannot be made for a task."""
        if self.partition in ("label-skew", "positives") and task.kind != "classification":
            what = (
                f"partition = {self.partition!r} is for classification: what a mask shows is not known before images are read"
            )
            yield "partition", f"{what}; take 'quantity-skew', or 'column' with a column that says it"
        elif self.partition == "positives" and len(task.classes) != 2:
            yield "partition", f"partition = 'positives' is for two classes, and the study has {len(task.classes)}"
