"""Coverage-guided fuzzing of one reader with atheris: ``python -m tests.fuzz TARGET FOLDER [options of libFuzzer]``.

FOLDER keeps what was learnt (``corpus``) and the input that ended it (``found``): any error but stalign's own does, as
do thirty seconds or two gigabytes for one input. Started again on the same folder, it goes on.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["stalign_core"]):
    from stalign_core.errors import StalignError
    from tests.fuzz.targets import TARGETS


def main() -> None:
    """Fuzz until libFuzzer's options say to stop."""
    target, folder = TARGETS[sys.argv[1]], Path(sys.argv[2])
    corpus, found = folder / "corpus", folder / "found"
    for each in (corpus, found):
        each.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(target.seeds()):
        (corpus / str(number)).write_bytes(seed)
    # Not removed at the end: libFuzzer leaves without a word to Python.
    place = Path(tempfile.mkdtemp(dir=folder))

    def take(payload: bytes) -> None:
        try:
            target.take(payload, place)
        except StalignError as error:
            assert "\n" not in error.line

    limits = ["-timeout=30", "-rss_limit_mb=2048", "-max_len=100000"]
    atheris.Setup([sys.argv[0], *limits, *sys.argv[3:], f"-artifact_prefix={found}/", str(corpus)], take)
    atheris.Fuzz()


main()
