"""What can go wrong with a retraining, by kind: each fault is done to a place, put right as a person would, and said in words."""

from tests.soak import spoiling, working

__all__ = ["FAULTS"]

FAULTS = working.FAULTS | spoiling.FAULTS
