"""The paper's public data: which samples and donors they hold, and a sample sheet from a folder of them."""

from stalign_core.datasets.files import RemoteFile
from stalign_core.datasets.records import DATASETS, Dataset, Section
from stalign_core.datasets.sheet import without_labels, write_sheet

__all__ = ["DATASETS", "Dataset", "RemoteFile", "Section", "without_labels", "write_sheet"]
