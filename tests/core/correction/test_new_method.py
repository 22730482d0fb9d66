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


    def place(features, terms):
        return np.asarray(features - features.mean(axis=0), dtype=np.float32)
"""
_RECORD = """MethodRecord(
        "centred",
        "Batch means subtracted",
        "harmony",
        embedding=centred.correct,
        seeded=False,
        map_embedding=centred.place,
    ),"""
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

    # A study that has nothing else starts, and its benchmark knows what to try, where to keep it and what it costs.
    from types import SimpleNamespace

    from stalign_assets.mapping import _preferred_variant
    from stalign_assets.pages.content import reported_variant
    from stalign_assets.platform.build import build_definitions
    from stalign_assets.recipes.benchmark.search import arms_of_study, test_trials, tuning_trials
    from stalign_assets.recipes.benchmark.trials import Bench, inputs_of_trials
    from stalign_core.benchmark.arms import default_parameters
    from stalign_core.benchmark.forecast import Costs, Work

    benchmark = parse_settings({"benchmark": {"methods": ["centred"]}}).benchmark
    settings = settings.model_copy(update={"benchmark": benchmark})
    build_definitions(settings=settings)
    assert reported_variant(settings) == "centred"
    assert _preferred_variant(settings) == "centred"
    raw = SimpleNamespace(summary={"samples": {"s": {"labels": ["x", "y"]}}, "n_spots": 10})
    stored = SimpleNamespace(manifest=raw, used_hash=lambda files: "content")
    study = SimpleNamespace(settings=settings)
    bench = Bench(study, {each.asset: {"A": stored} for each in inputs_of_trials(settings)})
    arms = arms_of_study(settings)
    for arm in arms:
        tested = test_trials(settings, arm, default_parameters(arm, settings))
        assert all(trial.correction_seed == 0 for trial in tested), arm
        for trial in (*tuning_trials(settings, arm), *tested):
            assert bench.trial_place(["A"], trial).input_key != bench.correction_place(["A"], trial).input_key
    assert {arm.name for arm in arms} > {"centred", "centred+neighbors", "centred+aestetik", "centred+reference"}
    assert Costs(settings).seconds(Work("correction/centred", 1000)) > 0
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
