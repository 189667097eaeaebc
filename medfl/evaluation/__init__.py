"""Evaluation: comparison of arms and bootstrap intervals, as pure functions over what a run left."""

from medfl.evaluation.arm_comparison import ArmComparison, compare_arms

__all__ = ["ArmComparison", "compare_arms"]
