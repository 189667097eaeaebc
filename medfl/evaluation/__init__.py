"""Comparison of ways to train, as pure functions over the history of a run."""

from medfl.evaluation.arm_comparison import ArmComparison, compare_arms

__all__ = ["ArmComparison", "compare_arms"]
