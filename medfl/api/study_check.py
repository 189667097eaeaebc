"""Check of a study before it runs: its hash, its simulated hospitals, and the same with Flower's own command."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from medfl.api.data_check import DataCheck, check_data
from medfl.errors import DataError
from medfl.report.check_cards import render_study_card
from medfl.site import Site
from medfl.study import Study
from medfl.study.model_words import describe_part
from medfl.study.study_file import Scalar
from medfl.system.text import join_words, plural

if TYPE_CHECKING:
    from medfl.data.store.prepared_data import PreparedCase

Split = Literal["train", "validation", "test"]


@dataclass(frozen=True, eq=False)
class StudyCheck:
    """What there is to know about a valid study before it runs. In a notebook it shows itself.

    Parameters
    ----------
    study : Study
        The study.
    folder : Path
        Its folder.
    changes : mapping
        What was changed, by dotted key.
    sites : tuple of Site
        The simulated hospitals, by name; empty unless data was given.
    """

    study: Study
    folder: Path
    changes: Mapping[str, Scalar]
    sites: tuple[Site, ...] = ()

    @property
    def sentences(self) -> tuple[str, ...]:
        """The study in a few lines: task, training, hash, hospitals."""
        study, task = self.study, self.study.task
        names = join_words([site.name for site in self.sites])
        return (
            f"{study.name}: {task.kind}, {task.dimension}-D, {', '.join(task.classes)}",
            f"{plural(study.rounds, 'round')} of {study.strategy.name} with {study.network.name}, seed {study.seed}",
            *describe_part(study),
            f"hash {study.approved_hash()}",
            *([f"{plural(len(self.sites), 'site')}: {names}"] if self.sites else []),
        )

    def describe_start(self) -> tuple[str, ...]:
        """Return what the study begins with, and what of it becomes the first model; empty where that is drawn from the seed.

        Raises
        ------
        RunError
            ``START-FILE``, ``START-FIT`` or ``START-HASH`` when the weights are here, and are not those of the study.
        """
        from medfl.api.start_weights import describe_start

        return tuple(describe_start(self.study, self.folder))

    @property
    def flower_command(self) -> list[str]:
        """The command of Flower that simulates the study on its own runtime, as words; empty unless data was given."""
        if not self.sites:
            return []
        changes = " ".join(f"{key}={json.dumps(value, ensure_ascii=False)}" for key, value in self.changes.items())
        federation = f"num-supernodes={len(self.sites)} client-resources-num-cpus={self.study.training.threads}"
        command = ["flwr", "run", str(self.folder), "local", "--stream", "--run-config", changes]
        return [*command, "--federation-config", federation]

    def foretell(self) -> tuple[str, ...]:
        """Return what a federation or the policies of the hospitals will refuse or hide, as sentences.

        Raises
        ------
        ConfigError
            When images or patches are too small for the network.
        """
        from medfl.api.study_foretelling import foretell_policy, foretell_sites, require_trainable

        require_trainable(self.study)
        refused = [sentence for site in self.sites for sentence in foretell_policy(site, self.study)]
        return (*refused, *foretell_sites(self.study, len(self.sites)))

    def data(self, site: str, *, fast: bool = False) -> DataCheck:
        """Read the cases of a simulated hospital, and return which can be used and why others cannot.

        Parameters
        ----------
        site : str
            Name of one of `sites`.
        fast : bool
            Look at headers only.

        Raises
        ------
        DataError
            ``NO-SITES`` when there is no hospital of this name.
        """
        return check_data(self._find_site(site), self.study, fast=fast)

    def cases(self, site: str, split: Split = "test") -> tuple[PreparedCase, ...]:
        """Return the cases of a simulated hospital as its network sees them; they are prepared unless they are in the store.

        Parameters
        ----------
        site : str
            Name of one of `sites`.
        split : {"train", "validation", "test"}
            Split whose cases are wanted.

        Raises
        ------
        DataError
            ``NO-SITES`` when there is no hospital of this name.
        ValueError
            When there is no such split.
        """
        if split not in get_args(Split):
            raise ValueError(f"'split' is one of {', '.join(map(repr, get_args(Split)))}, not {split!r}.")
        from medfl.data.store.prepare import prepare

        return prepare(self._find_site(site), self.study).get_split(split)

    def as_json(self) -> dict[str, Any]:
        """Return the study and its hash for JSON."""
        return {"hash": self.study.approved_hash(), "study": self.study.model_dump(mode="json", by_alias=True)}

    def __repr__(self) -> str:  # kept in a notebook: no folder, and nothing of a site but its name
        return f"<StudyCheck {self.study.name}: {plural(len(self.sites), 'site')}>"

    def _repr_html_(self) -> str:
        return render_study_card(self.study, [site.name for site in self.sites])

    def _find_site(self, name: str) -> Site:
        for site in self.sites:
            if site.name == name:
                return site
        known = join_words([each.name for each in self.sites])
        fix = f"Name one of them: {known}." if known else "Name the folder of the data: study.check(data=...)."
        raise DataError("NO-SITES", f"there is no hospital {name!r} in the data.", fix)
