"""The paper's protocol: which donors tune and which test, and which hyperparameters are tried."""

from stalign_core.benchmark.grid import TABLE_1, combinations
from stalign_core.benchmark.splits import COLUMNS, check_splits, multi_donor_splits, single_donor_splits

__all__ = ["COLUMNS", "TABLE_1", "check_splits", "combinations", "multi_donor_splits", "single_donor_splits"]
