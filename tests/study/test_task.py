"""The table task of a study: codes for its classes are whole and of segmentation, and cost an older study nothing."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from medfl.study.task import Task

LIVER = {"kind": "segmentation", "dimension": 3, "modality": "CT", "classes": "background,liver,lesion"}


def test_codes_are_read_with_their_meanings() -> None:
    task = Task.model_validate({**LIVER, "codes": "10200004:Liver, 4147007: Mass"})
    assert task.segment_codes == (("10200004", "Liver"), ("4147007", "Mass"))


@pytest.mark.parametrize("codes", ["10200004:Liver", "10200004,4147007", "liver:Liver,4147007:Mass", ":Liver,1:Mass"])
def test_codes_that_are_not_whole_are_refused(codes: str) -> None:
    with pytest.raises(ValidationError, match="codes"):
        Task.model_validate({**LIVER, "codes": codes})


def test_a_classification_has_no_codes() -> None:
    with pytest.raises(ValidationError, match="is for segmentation"):
        Task.model_validate({**LIVER, "kind": "classification", "codes": "1:a,2:b"})


def test_a_study_without_codes_is_recorded_as_before() -> None:
    assert "codes" not in Task.model_validate(LIVER).model_dump(by_alias=True)
