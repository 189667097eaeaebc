"""How a study is simulated and how it is served: two tables beside a study that no hospital reads or approves."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from medfl.errors.validation import InconsistentError
from medfl.schema import Number, Section, Strings
from medfl.study.sections import Fraction, NotNegative

Sites = Annotated[Strings, BeforeValidator(lambda value: str(value) if isinstance(value, int) else value)]


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
    partition: Literal["auto", "none", "column", "random"] = "auto"  # auto: folders with a site.toml, else one site
    column: str = ""  # of the CSV index, for partition = "column"
    sites: NotNegative = 0  # for partition = "random"
    where: str = ""  # "column=a|b" keeps rows of the CSV index; "column!=" drops the empty ones
    image: str = "image"  # column of the CSV index, or a pattern as "images/{id}.nii.gz"
    label: str = "label"
    patient: str = "patient"  # column; empty: one image is one patient
    max_excluded: Fraction = 0.1  # share of all cases left out, above which the study does not start
    attack: Literal["none", "sign-flip", "scale", "gaussian", "label-flip"] = "none"  # of some sites, to try robust rules
    attackers: Sites = ("1",)  # how many sites, the first by name; or their names
    attack_strength: Annotated[Number, Field(gt=0)] = 10.0  # factor on the honest update; not used by "label-flip"

    @model_validator(mode="after")
    def _check_partition(self) -> Self:
        problems = []
        if self.partition == "column" and not self.column:
            problems.append(("column", "partition = 'column' needs the name of a column here"))
        if self.partition == "random" and self.sites < 2:
            problems.append(("sites", "partition = 'random' needs 2 or more here"))
        for key, value, partition in (("column", self.column, "column"), ("sites", self.sites, "random")):
            if value and "partition" not in self.model_fields_set:
                problems.append((key, f"does nothing without a partition; write partition = {partition!r}, or leave it out"))
        if problems:
            raise InconsistentError(problems)
        return self
