"""A reference as a folder of safetensors and JSON: no pickle, written whole or not at all."""

from __future__ import annotations

import json
import shutil
import uuid
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from stalign_core.aestetik import Aestetik
from stalign_core.correction import CorrectionTerms
from stalign_core.domains import DomainAssigner
from stalign_core.errors import ModelError
from stalign_core.expression.basis import ExpressionBasis
from stalign_core.expression.dense_basis import DenseBasis
from stalign_core.mapping.familiarity import Familiarity
from stalign_core.mapping.reference import Reference
from stalign_core.settings import EncoderSettings, MorphologySettings

FORMAT: Final = 1
"""Version of the saved form; a newer one is refused."""
FACTS_FILE: Final = "reference.json"
MODEL_FOLDER: Final = "model"
MEAN_LOG_COUNTS: Final = "mean_log_counts"

Arrays = dict[str, NDArray[Any]]


def save_reference(reference: Reference, folder: Path | str) -> None:
    """Write a reference into `folder`; a reference that lies there is replaced.

    The files are written beside it first and moved in one step. A kill leaves the former reference, the new one, or,
    between two renames, none; never a part of one.

    Raises
    ------
    ModelError
        If something else lies there.
    """
    folder = Path(folder)
    if folder.exists() and not (folder / FACTS_FILE).is_file():
        raise ModelError(
            str(folder), "exists and holds no reference", expected="a new folder", remedy="give another folder"
        )
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}.part")
    try:
        draft.mkdir()
        _write(reference, draft)
        _put_in_place(draft, folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def load_reference(folder: Path | str) -> Reference:
    """Read what `save_reference` wrote.

    Raises
    ------
    ModelError
        If a file is missing, damaged, or of a newer version.
    """
    from safetensors import SafetensorError

    folder = Path(folder)
    try:
        facts = json.loads((folder / FACTS_FILE).read_text(encoding="utf-8"))
        if facts.get("format", FORMAT + 1) > FORMAT:
            raise ModelError(str(folder), "was saved by a newer stalign", remedy="upgrade stalign")
        return _read(folder, facts)
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise ModelError(
            str(folder),
            f"holds no readable reference ({type(error).__name__}: {error})",
            remedy="fit and save it again",
        ) from None


def _write(reference: Reference, folder: Path) -> None:
    facts: dict[str, Any] = {
        "format": FORMAT,
        "method": reference.method,
        "encoder_name": reference.encoder_name,
        "encoder": reference.encoder.model_dump(mode="json"),
        "encoder_sha256": reference.encoder_sha256,
        "morphology": reference.morphology.model_dump(mode="json"),
        "refine_neighbors": reference.refine_neighbors,
    }
    parts: dict[str, tuple[Arrays, dict[str, Any]]] = {
        "expression_basis": reference.expression_basis.to_arrays(),
        "expression_terms": (reference.expression_terms.arrays, reference.expression_terms.facts),
        "morphology_basis": reference.morphology_basis.to_arrays(),
        "morphology_terms": (reference.morphology_terms.arrays, reference.morphology_terms.facts),
        "domains": reference.assigner.to_arrays(),
        "familiarity": reference.familiarity.to_arrays(),
    }
    if reference.mean_log_counts is not None:
        parts[MEAN_LOG_COUNTS] = ({MEAN_LOG_COUNTS: reference.mean_log_counts}, {})
    for name, (arrays, part_facts) in parts.items():
        _write_arrays(folder, name, arrays)
        facts[name] = part_facts
    reference.model.save(folder / MODEL_FOLDER)
    (folder / FACTS_FILE).write_text(json.dumps(facts, indent=1), encoding="utf-8")


def _read(folder: Path, facts: dict[str, Any]) -> Reference:
    def terms(name: str) -> CorrectionTerms:
        return CorrectionTerms(_read_arrays(folder, name), facts[name])

    has_means = MEAN_LOG_COUNTS in facts
    return Reference(
        method=facts["method"],
        expression_basis=ExpressionBasis.from_arrays(
            _read_arrays(folder, "expression_basis"), facts["expression_basis"]
        ),
        expression_terms=terms("expression_terms"),
        encoder_name=facts["encoder_name"],
        encoder=EncoderSettings(**facts["encoder"]),
        encoder_sha256=facts["encoder_sha256"],
        morphology=MorphologySettings(**facts["morphology"]),
        morphology_basis=DenseBasis.from_arrays(_read_arrays(folder, "morphology_basis"), facts["morphology_basis"]),
        morphology_terms=terms("morphology_terms"),
        model=Aestetik.load(folder / MODEL_FOLDER),
        assigner=DomainAssigner.from_arrays(_read_arrays(folder, "domains"), facts["domains"]),
        familiarity=Familiarity.from_arrays(_read_arrays(folder, "familiarity"), facts["familiarity"]),
        refine_neighbors=facts["refine_neighbors"],
        mean_log_counts=_read_arrays(folder, MEAN_LOG_COUNTS)[MEAN_LOG_COUNTS] if has_means else None,
    )


def _write_arrays(folder: Path, name: str, arrays: Arrays) -> None:
    from safetensors.numpy import save_file

    save_file({key: np.ascontiguousarray(array) for key, array in arrays.items()}, folder / f"{name}.safetensors")


def _read_arrays(folder: Path, name: str) -> Arrays:
    from safetensors.numpy import load_file

    return dict(load_file(folder / f"{name}.safetensors"))


def _put_in_place(draft: Path, folder: Path) -> None:
    """Move the draft to where it belongs; a folder that holds files cannot be replaced in one step."""
    former = draft.with_suffix(".former")
    if folder.exists():
        folder.rename(former)
    draft.rename(folder)
    shutil.rmtree(former, ignore_errors=True)
