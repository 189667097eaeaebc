"""The server asks the nodes by the messages that real ones get, and counts only what can be right."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from flwr.app import ConfigRecord, Context, Message, RecordDict

from medfl import client_app
from medfl.errors import QuorumError
from medfl.flower import compat
from medfl.messages import records
from medfl.server.fingerprints import collect_fingerprints
from medfl.study import flatten, study_from_run_config

Tamper = Callable[[RecordDict], object]


class LocalGrid:
    """As much of Flower's Grid as collecting fingerprints uses; nodes answer in this process, the last one first.

    Parameters
    ----------
    run_config : dict
        Run configuration of the study.
    nodes : int
        Simulated hospitals.
    tamper : dict of int to callable
        What a node does to its own reply.
    """

    def __init__(self, run_config: dict[str, Any], nodes: int, tamper: dict[int, Tamper]) -> None:
        compat.identify_process(1, compat.SERVER_NODE_ID)
        self._tamper = tamper
        self.sizes: list[int] = []
        self._contexts = {k + 2: Context(1, k + 2, {"partition-id": k}, RecordDict(), run_config) for k in range(nodes)}

    def get_node_ids(self) -> Iterable[int]:
        return list(self._contexts)

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        for message in reversed(list(messages)):
            compat.assign_message_id(message)
            node = message.metadata.dst_node_id
            reply = client_app.app(message, self._contexts[node])
            if reply.has_content():
                self._tamper.get(node, lambda content: None)(reply.content)
                self.sizes.append(sum(len(array.data) for array in reply.content.array_records[records.ARRAYS].values()))
            yield reply


@pytest.fixture
def run_config(tmp_path: Path) -> dict[str, Any]:
    """Return the run configuration of a study with three hospitals of six volumes each; the second has a broken file."""
    for name in ("hospital-a", "hospital-b", "hospital-c"):
        folder = tmp_path / "hospitals" / name
        folder.mkdir(parents=True)
        (folder / "site.toml").write_text(f'name = "{name}"\n[policy]\nmin-count = 5\n')
        rows = ["image,label,patient"]
        for k in range(6):
            rows.append(f"i{k}.nii,l{k}.nii,p{k}")
            image = np.random.default_rng(k).integers(0, 200, (24, 28, 20)).astype(np.int16)
            nib.save(nib.Nifti1Image(image, np.eye(4)), folder / f"i{k}.nii")
            nib.save(nib.Nifti1Image((image > 150).astype(np.uint8), np.eye(4)), folder / f"l{k}.nii")
        (folder / "index.csv").write_text("\n".join(rows))
    (tmp_path / "hospitals" / "hospital-b" / "i3.nii").write_bytes(b"Jane Doe")
    values = {
        "name": "organs", "rounds": 1, "network": {"name": "unet"}, "loss": {"name": "dice-ce"}, "splits": {"test": 0.0},
        "task": {"kind": "segmentation", "dimension": 3, "modality": "MR", "classes": "background,organ"},
        "simulation": {"data": str(tmp_path / "hospitals")},
    }  # fmt: skip
    return flatten(values)


def test_every_hospital_tells_its_fingerprint_and_what_it_left_out(run_config: dict[str, Any]) -> None:
    grid = LocalGrid(run_config, 3, {})
    answered: list[tuple[int, int]] = []
    found = collect_fingerprints(grid, study_from_run_config(run_config), 3, lambda done, of: answered.append((done, of)))  # type: ignore[arg-type]
    assert list(found.fingerprints) == ["hospital-a", "hospital-b", "hospital-c"]
    assert found.merge().cases == 17
    assert found.excluded == {"hospital-a": {}, "hospital-b": {"NII-FORMAT": -5}, "hospital-c": {}}
    assert answered == [(1, 3), (2, 3), (3, 3)]
    assert max(grid.sizes) < 100_000


def test_what_cannot_be_right_is_left_out_with_its_reason(run_config: dict[str, Any]) -> None:
    def other_task(content: RecordDict) -> None:
        content.config_records[records.CONFIG]["crop"] = "body"

    def no_array(content: RecordDict) -> None:
        del content[records.ARRAYS]["means"]  # type: ignore[attr-defined]

    grid = LocalGrid(run_config, 3, {2: other_task, 4: no_array})
    found = collect_fingerprints(grid, study_from_run_config(run_config), 3)  # type: ignore[arg-type]
    assert list(found.fingerprints) == ["hospital-b"]
    assert {node: reason.split("]")[0] for node, reason in found.refused.items()} == {
        "node-1": "[FINGERPRINT-SCOPE",
        "node-3": "[FINGERPRINT-UNREADABLE",
    }


def test_hospitals_with_too_few_tell_a_code_and_nothing_else(run_config: dict[str, Any], tmp_path: Path) -> None:
    for site in (tmp_path / "hospitals").glob("*/site.toml"):
        site.write_text(site.read_text().replace("min-count = 5", "min-count = 10"))
    found = collect_fingerprints(LocalGrid(run_config, 3, {}), study_from_run_config(run_config), 3)  # type: ignore[arg-type]
    assert found.fingerprints == {}
    assert set(found.refused.values()) == {"[FINGERPRINT-FEW] The details are in the log of the site."}
    with pytest.raises(QuorumError, match="TOO-FEW-SITES"):
        found.merge()


def test_two_nodes_with_one_name_are_an_error(run_config: dict[str, Any]) -> None:
    def pose(content: RecordDict) -> None:
        content[records.SITE] = ConfigRecord({"name": "hospital-a"})

    with pytest.raises(QuorumError, match="SITE-TWICE"):
        collect_fingerprints(LocalGrid(run_config, 3, {4: pose}), study_from_run_config(run_config), 3)  # type: ignore[arg-type]
