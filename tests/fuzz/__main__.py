"""Coverage-guided fuzzing of one reader with atheris: ``python -m tests.fuzz TARGET [options of libFuzzer]``.

Any error but stalign's own ends it, as do thirty seconds or two gigabytes for one input.
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
    target = TARGETS[sys.argv[1]]
    with tempfile.TemporaryDirectory() as scratch:
        corpus, place = Path(scratch) / "corpus", Path(scratch) / "place"
        corpus.mkdir()
        place.mkdir()
        for number, seed in enumerate(target.seeds()):
            (corpus / str(number)).write_bytes(seed)

        def take(payload: bytes) -> None:
            try:
                target.take(payload, place)
            except StalignError as error:
                assert "\n" not in error.line

        limits = ["-timeout=30", "-rss_limit_mb=2048", f"-artifact_prefix={tempfile.gettempdir()}/", "-max_len=100000"]
        atheris.Setup([sys.argv[0], *limits, *sys.argv[2:], str(corpus)], take)
        atheris.Fuzz()


main()
