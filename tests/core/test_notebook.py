"""The guide's notebook runs from its first cell to its last, and finds what it says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

NOTEBOOK = Path(__file__).parents[2] / "docs" / "guide" / "notebook.ipynb"
_FOUND = """
print(f"joint {figures['ARI']:.3f}, donor {figures['ARI against donor']:.3f}, mapped {mapped:.3f}")
assert figures["ARI"] > 0.75 and figures["ARI against donor"] < 0.1 and mapped > 0.6
"""


@pytest.mark.slow
def test_every_cell_of_the_notebook_runs() -> None:
    cells = [cell for cell in json.loads(NOTEBOOK.read_text())["cells"] if cell["cell_type"] == "code"]
    text = "\n\n".join("".join(cell["source"]) for cell in cells)
    done = subprocess.run(
        [sys.executable, "-c", text + _FOUND],
        env={**os.environ, "MPLBACKEND": "Agg"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("joint ")


def test_the_notebook_was_kept_with_what_it_printed() -> None:
    cells = [cell for cell in json.loads(NOTEBOOK.read_text())["cells"] if cell["cell_type"] == "code"]
    assert all(cell["outputs"] for cell in cells)
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
