"""How a hospital answers: once, and in the same words when it is asked again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from flwr.app import ArrayRecord, Context

from medfl import client_app
from medfl.clients import node_cache
from medfl.errors import safe_sentence
from medfl.messages import records
from medfl.site import init_site
from medfl.study import flatten
from tests.clients.answering_site import EVALUATE, JOIN, NOT_ANSWERED, TRAIN, Site, Work, site, values_of, work

__all__ = ["site", "work"]  # fixtures


@pytest.mark.parametrize(
    ("kind", "config"),
    [(JOIN, {}), (TRAIN, {}), (EVALUATE, {"server_round": 2}), (EVALUATE, {"split": "test", "server_round": 3})],
)
def test_the_same_question_is_answered_with_the_same_bytes_and_no_further_work(
    site: Site, work: Work, kind: str, config: dict[str, Any]
) -> None:
    first = site.ask(kind, **config)
    node_cache.forget_prepared()
    node_cache.get_network.cache_clear()  # as in a new process
    second = site.ask(kind, exchange="x2", **config)
    assert values_of(first) == values_of(second)
    assert len(work.done) == 1
    stamps = [reply.content.config_records[records.SITE][records.EXCHANGE] for reply in (first, second)]
    assert stamps == ["x1", "x2"]


def test_another_model_for_a_round_that_was_answered_is_refused(site: Site, work: Work) -> None:
    assert not site.ask(TRAIN).has_error()
    assert site.reason(TRAIN, model=site.other_model()) == safe_sentence("QUESTION-ANSWERED")
    assert work.done == ["train"]


def test_a_new_name_for_the_run_gives_no_more_questions_than_the_runs_allow(site: Site, work: Work) -> None:
    assert [site.ask(kind, run=f"run-{n}").has_error() for n in range(3) for kind in (JOIN, TRAIN)] == [False] * 6
    assert site.reason(JOIN, run="run-3") == safe_sentence("RUNS-SPENT")
    assert not site.ask(JOIN, run="run-0").has_error()


def test_a_run_that_could_not_begin_uses_up_none_of_those_that_may(site: Site, work: Work) -> None:
    assert [site.ask(JOIN, run=f"run-{n}").has_error() for n in range(5)] == [False] * 5
    assert not site.ask(TRAIN, run="run-4").has_error()


def test_a_simulated_hospital_has_no_budget(site: Site, work: Work, nodule_hospitals: Path) -> None:
    site.run_config["simulation.data"] = str(nodule_hospitals)
    assert not site.ask(TRAIN).has_error()
    context = Context(7, 5, {"partition-id": 0, "num-partitions": 3}, site.asked.content, dict(site.run_config))
    replies = [client_app.app(site.asked, context) for _ in range(2)]
    assert [reply.has_error() for reply in replies] == [False, False]
    assert work.done == ["train"] * 3
    assert records.PADDING not in replies[0].content.config_records[records.SITE]


def test_two_fingerprints_do_not_differ_by_one_patient(tmp_path: Path) -> None:
    """Their difference would describe one image. What is described are the cases of the run, as in everything it asks."""
    rows = ["image,label,patient"]
    for k in range(8):
        rows.append(f"i{k}.nii,l{k}.nii,p{k}")
        image = np.random.default_rng(k).integers(0, 200, (24, 28, 20)).astype(np.int16)
        nib.save(nib.Nifti1Image(image, np.eye(4)), tmp_path / f"i{k}.nii")
        nib.save(nib.Nifti1Image((image > 150).astype(np.uint8), np.eye(4)), tmp_path / f"l{k}.nii")
    (tmp_path / "index.csv").write_text("\n".join(rows[:-1]))
    file = init_site(tmp_path, "hospital-a", ".")
    file.write_text(file.read_text().replace("min-count = 10", "min-count = 5").replace("min-cases = 10", "min-cases = 2"))
    task = {"kind": "segmentation", "dimension": 3, "modality": "MR", "classes": "background,organ"}
    values = {"name": "organs", "rounds": 1, "task": task, "splits": {"test": 0.0}}
    site = Site(file, flatten(values | {"network": {"name": "unet"}, "loss": {"name": "dice-ce"}}), ArrayRecord())
    assert not site.ask(records.FINGERPRINT).has_error()
    (tmp_path / "index.csv").write_text("\n".join(rows))
    assert site.reason(records.FINGERPRINT, run="run-2") == NOT_ANSWERED
    assert not site.ask(records.FINGERPRINT).has_error()  # the answer that it had
