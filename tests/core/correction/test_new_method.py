"""The guide's promise: a correction method is one file and one record of the registry."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import stalign_core
from stalign_core.simulate import simulate_cohort
from tests.studies import TINY_DESIGN

_FILE = """
    import numpy as np

    from stalign_core.correction.result import CorrectionResult


    def correct(features, batches, settings, seed):
        corrected = np.array(features, dtype=np.float32)
        for batch in np.unique(batches):
            corrected[batches == batch] -= corrected[batches == batch].mean(axis=0)
        return CorrectionResult(corrected, facts={"corrected": True})
"""
_RECORD = 'MethodRecord("centred", "Batch means subtracted", "harmony", embedding=centred.correct, seeded=False),'
_USE = """
    import sys

    import numpy as np

    import stalign_core as st
    from stalign_assets.recipes.graph import recipes_of
    from stalign_core.settings import parse_settings

    adata = st.read_cohort(sys.argv[1])
    settings = parse_settings({
        "input": {"min_genes": 20},
        "expression": {"n_top_genes": 150, "n_components": 8},
        "morphology": {"n_components": 6},
        "aestetik": {"epochs": 1},
        "variants": {"centred": {"correction": "centred"}},
    })
    st.integrate(adata, n_domains=3, method="centred", settings=settings)
    for sample in adata.obs["sample"].unique():
        mean = adata.obsm["X_centred"][adata.obs["sample"] == sample].mean(axis=0)
        assert np.abs(mean).max() < 1e-4, mean
    print(*recipes_of(settings), sep="\\n")
"""


def test_one_file_and_one_record_are_a_method_of_the_library_and_of_studies(tmp_path: Path) -> None:
    home = _source_with_the_method(tmp_path / "source")
    design = replace(TINY_DESIGN, n_donors=2)
    sheet = simulate_cohort(tmp_path / "data", design, seed=1)
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(_USE), str(sheet)],
        env={**os.environ, "PYTHONPATH": str(home)},
        cwd=home,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "cohort/centred/domains" in done.stdout.splitlines()


def _source_with_the_method(home: Path) -> Path:
    """A copy of the packages with the method's file and its record."""
    here = Path(stalign_core.__file__).parent
    shutil.copytree(here, home / "stalign_core")
    shutil.copytree(here.parent / "stalign_assets", home / "stalign_assets")
    (home / "stalign_core/correction/centred.py").write_text(textwrap.dedent(_FILE))
    registry = home / "stalign_core/correction/registry.py"
    text = registry.read_text()
    text = text.replace("correction import harmony,", "correction import centred, harmony,")
    text = text.replace("_RECORDS: Final = (\n", f"_RECORDS: Final = (\n    {_RECORD}\n")
    registry.write_text(text)
    return home
