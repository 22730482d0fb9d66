"""Assets of one donor's samples: raw samples, gene statistics, grids, morphology and external embeddings.

Within a donor each section is a part with its own key, so that a new section costs only itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from stalign_assets.recipes.recipe import (
    SAMPLES_GROUP,
    Input,
    KeyContext,
    Recipe,
    SourceFile,
    Task,
    no_settings,
    warn_of_reduced_batch,
)
from stalign_assets.rows import samples_of
from stalign_core.errors import EncoderError, ImageError

if TYPE_CHECKING:
    from stalign_assets.study import Study
    from stalign_core.cohort import Sample
    from stalign_core.settings import Settings
    from stalign_core.store import Artifact

RAW: Final = "raw_samples"
STATISTICS: Final = "gene_statistics"
GRIDS: Final = "spot_grids"
MORPHOLOGY: Final = "morphology_embeddings"
EXTERNAL: Final = "external_embeddings"

_RAW_VERSION: Final = 1
_STATISTICS_VERSION: Final = 1
_GRIDS_VERSION: Final = 2
_MORPHOLOGY_VERSION: Final = 1
_EXTERNAL_VERSION: Final = 1

_EXTERNAL_ROLE: Final = "external"


def sample_recipes(settings: Settings) -> Iterator[Recipe]:
    """Recipes of the group `samples`."""
    yield Recipe(
        asset=RAW,
        group=SAMPLES_GROUP,
        description="Counts, positions and labels of a donor's sections, read from raw files and checked.",
        partitioning="donor",
        code_version=_RAW_VERSION,
        inputs=(),
        settings=_raw_settings,
        compute=_read_samples,
        sources=_raw_sources,
        kinds=("anndata",),
    )
    yield Recipe(
        asset=STATISTICS,
        group=SAMPLES_GROUP,
        description="Histogram of each gene's counts per section: all that the choice of a gene panel needs.",
        partitioning="donor",
        code_version=_STATISTICS_VERSION,
        inputs=(Input(RAW, ("*.counts.h5ad",)),),
        settings=no_settings,
        compute=_count_genes,
        kinds=("parquet",),
    )
    yield Recipe(
        asset=GRIDS,
        group=SAMPLES_GROUP,
        description="Lattice cell and isotropic position of each spot: neighbourhoods follow from them.",
        partitioning="donor",
        code_version=_GRIDS_VERSION,
        inputs=(Input(RAW, ("*.spots.parquet", "*.lattice.json")),),
        settings=no_settings,
        compute=_lay_out_grids,
        kinds=("numpy",),
    )
    for encoder in used_encoders(settings):
        yield Recipe(
            asset=f"{MORPHOLOGY}/{encoder}",
            group=SAMPLES_GROUP,
            description=f"Vector of each spot's H&E patch by encoder '{encoder}'.",
            partitioning="donor",
            code_version=_MORPHOLOGY_VERSION,
            inputs=(Input(RAW, ("*.spots.parquet", "*.image.json")),),
            settings=partial(_morphology_settings, encoder),
            compute=partial(_embed_morphology, encoder),
            pool="gpu",
            kinds=("torch",),
        )
    for representation in used_representations(settings):
        yield Recipe(
            asset=f"{EXTERNAL}/{representation}",
            group=SAMPLES_GROUP,
            description=f"Expression embedding '{representation}', computed elsewhere and read here.",
            partitioning="donor",
            code_version=_EXTERNAL_VERSION,
            inputs=(Input(RAW, ("*.spots.parquet",)),),
            settings=partial(_external_settings, representation),
            compute=partial(_read_external, representation),
            sources=partial(_external_sources, representation),
            kinds=("numpy",),
        )


def used_encoders(settings: Settings) -> list[str]:
    """Encoders that a variant names, in order."""
    return list(dict.fromkeys(variant.encoder for variant in settings.variants.values()))


def used_representations(settings: Settings) -> list[str]:
    """External representations that a variant names, in order."""
    names = dict.fromkeys(variant.representation for variant in settings.variants.values())
    return [name for name in names if name != "pca"]


def _raw_settings(context: KeyContext) -> Mapping[str, Any]:
    return {
        "samples": sorted(sample.sample for sample in context.study.cohort.samples_of(context.partition)),
        "min_spots": _min_spots(context.settings)[0],
        "min_genes": context.settings.input.min_genes,
    }


def _raw_sources(study: Study, donor: str) -> Sequence[SourceFile]:
    from stalign_core.cohort import check_files
    from stalign_core.readers import source_files

    samples = study.cohort.samples_of(donor)
    for sample in samples:
        check_files(sample)
    return [SourceFile(sample.sample, _role(sample, path), path) for sample in samples for path in source_files(sample)]


def _role(sample: Sample, path: Path) -> str:
    """Name of a source file within its sample, the same wherever the sample lies on disk."""
    try:
        return path.relative_to(sample.path).as_posix() if path != sample.path else path.name
    except ValueError:
        return path.name


def _read_samples(task: Task) -> None:
    samples = task.study.cohort.samples_of(task.partition)
    summaries: dict[str, dict[str, Any]] = {}
    for done, sample in enumerate(samples):
        task.progress(f"reading {sample.sample}", done, len(samples))
        hashes = {name: sha for name, sha in task.source_hashes.items() if name.startswith(f"{sample.sample}/")}
        if not task.builder.reuse_part(sample.sample, {"sources": hashes, "code": _RAW_VERSION}):
            _read_sample(task, sample)
        summaries[sample.sample] = task.builder.read_json(f"{sample.sample}.summary.json")
        for line in summaries[sample.sample]["warnings"]:
            task.warn(f"{sample.sample}: {line}")
    task.builder.summary.update(
        n_samples=len(samples),
        n_spots=sum(summary["spots"] for summary in summaries.values()),
        n_genes=max(summary["genes"] for summary in summaries.values()),
        samples=summaries,
        problems=_problems(task.settings, summaries),
    )


def _read_sample(task: Task, sample: Sample) -> None:
    from stalign_core.readers import read_sample, source_files
    from stalign_core.readers.native_probe import check_native_files
    from stalign_core.sections import describe_section, image_record, lattice_record, section_tables

    check_native_files(source_files(sample))
    section = read_sample(sample)
    counts, spots, labels = section_tables(section)
    name = sample.sample
    write = task.builder
    write.write_anndata(f"{name}.counts.h5ad", counts, part=name)
    write.write_table(f"{name}.spots.parquet", spots, part=name)
    write.write_table(f"{name}.labels.parquet", labels, part=name)
    write.write_json(f"{name}.lattice.json", lattice_record(section), part=name)
    write.write_json(f"{name}.image.json", image_record(section, partial(_source_hash, task, sample)), part=name)
    write.write_json(f"{name}.summary.json", describe_section(section), part=name)


def _source_hash(task: Task, sample: Sample, path: Path) -> str:
    return task.source_hashes[f"{sample.sample}/{_role(sample, path)}"]


def _problems(settings: Settings, summaries: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Why a donor cannot take part: one line per section and fault."""
    min_spots, asked_by = _min_spots(settings)
    problems = []
    for sample, summary in summaries.items():
        if summary["spots"] < min_spots:
            problems.append(f"sample {sample} has {summary['spots']} spots, fewer than the {min_spots} of {asked_by}")
        if summary["genes_detected"] < settings.input.min_genes:
            problems.append(
                f"sample {sample} shows {summary['genes_detected']} genes, "
                f"fewer than the {settings.input.min_genes} of input.min_genes"
            )
    return problems


def _min_spots(settings: Settings) -> tuple[int, str]:
    """Fewest spots that a section may have, and the setting that asks for them."""
    # A section must at least span the principal components it is described by.
    spanning = settings.expression.n_components + 1
    if spanning > settings.input.min_spots:
        return spanning, "expression.n_components + 1"
    return settings.input.min_spots, "input.min_spots"


def _count_genes(task: Task) -> None:
    from stalign_core.expression.gene_statistics import gene_histogram

    raw = task.one(RAW)
    for sample in samples_of(raw):
        if task.builder.reuse_part(sample, _part_key(raw, _STATISTICS_VERSION, f"{sample}.counts.h5ad")):
            continue
        counts = raw.anndata(f"{sample}.counts.h5ad")
        histogram = gene_histogram(counts.X, counts.var_names.to_numpy(dtype=object), where=f"sample {sample}")
        task.builder.write_table(f"{sample}.parquet", histogram.to_frame(), part=sample)
    task.builder.summary["n_samples"] = len(samples_of(raw))


def _lay_out_grids(task: Task) -> None:
    from stalign_core.grid import pack_lattice
    from stalign_core.sections import spot_positions

    raw = task.one(RAW)
    for sample in samples_of(raw):
        files = (f"{sample}.spots.parquet", f"{sample}.lattice.json")
        if task.builder.reuse_part(sample, _part_key(raw, _GRIDS_VERSION, *files)):
            continue
        spots = raw.table(f"{sample}.spots.parquet")
        kind = raw.json(f"{sample}.lattice.json")["lattice"]
        rows, columns = ("y", "x") if kind == "irregular" else ("array_row", "array_col")
        lattice = pack_lattice(spots[rows], spots[columns], kind)
        positions = spot_positions(lattice, kind, spots[["x", "y"]].to_numpy())
        task.builder.write_arrays(f"{sample}.safetensors", {"lattice": lattice, "positions": positions}, part=sample)


def _morphology_settings(encoder: str, context: KeyContext) -> Mapping[str, Any]:
    from stalign_core.morphology.encoders.records import record_of

    settings = context.settings
    chosen = settings.encoders[encoder]
    stain = settings.morphology.stain_normalisation
    weights = weights_file(context.study, encoder)
    return {
        "encoder": record_of(chosen.model, f"encoders.{encoder}.model").to_dict(),
        # Absent where none is asked for: weights of which only the hub is known keep the keys that they always had.
        **({"revision": chosen.revision} if chosen.revision else {}),
        "weights": context.study.fingerprints.record(weights).sha256 if weights else "",
        "patch_diameters": settings.morphology.patch_diameters,
        # Absent where stains are left as they are: such embeddings keep the keys that they always had.
        **({"stain_normalisation": stain} if stain != "none" else {}),
    }


def weights_file(study: Study, encoder: str) -> Path | None:
    """The encoder's local checkpoint, given relative to the study folder or absolute."""
    named = study.settings.encoders[encoder].weights
    if named is None:
        return None
    path = study.folder / named
    if not path.is_file():
        raise EncoderError(f"encoders.{encoder}.weights", f"names {path}, which is no file", expected="a checkpoint")
    return path


def _embed_morphology(encoder: str, task: Task) -> None:
    from stalign_core.morphology import embed_section, embed_with, load_encoder
    from stalign_core.sections import section_for_morphology

    raw = task.one(RAW)
    settings = task.settings
    weights = weights_file(task.study, encoder)
    chosen = settings.encoders[encoder].model_copy(update={"weights": str(weights) if weights else None})
    loaded = cache(lambda: load_encoder(encoder, chosen, settings.morphology.device))
    facts: dict[str, Any] = {}
    n_observed = 0
    for sample in samples_of(raw):
        files = (f"{sample}.spots.parquet", f"{sample}.image.json")
        key = {**_part_key(raw, _MORPHOLOGY_VERSION, *files), "settings": task.key_settings}
        if not task.builder.reuse_part(sample, key):
            image = raw.json(f"{sample}.image.json")
            section = section_for_morphology(
                sample, raw.table(f"{sample}.spots.parquet"), image, _image_path(task, sample, image["image_sha256"])
            )
            if image["image_sha256"]:
                embedding = embed_with(loaded(), section, settings.morphology, task.progress)
            else:
                embedding = embed_section(section, encoder, chosen, settings.morphology)
            task.builder.write_arrays(
                f"{sample}.safetensors",
                {"features": embedding.features, "observed": embedding.observed},
                part=sample,
            )
            task.builder.write_note(f"{sample}.facts.json", embedding.facts, part=sample)
            task.builder.write_json(f"{sample}.observed.json", int(embedding.observed.sum()), part=sample)
        facts[sample] = task.builder.read_json(f"{sample}.facts.json")
        if warning := facts[sample].get("stain", {}).get("warning"):
            task.warn(f"{sample}: {warning}")
        warn_of_reduced_batch(task, settings.morphology.batch_size, facts[sample].get("batch_size_reduced_to"))
        n_observed += task.builder.read_json(f"{sample}.observed.json")
    task.builder.summary.update(
        n_spots=raw.manifest.summary["n_spots"],
        n_spots_without_morphology=raw.manifest.summary["n_spots"] - n_observed,
        encoder=facts,
        **_device_of(facts.values()),
    )


def _device_of(facts: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Where the sections with an image were encoded, and the most memory of a GPU that one of them took."""
    encoded = [each for each in facts if "device" in each]
    found = {name: each[name] for each in encoded for name in ("device", "precision", "device_name") if name in each}
    peaks = [each["device_peak_memory_mb"] for each in encoded if "device_peak_memory_mb" in each]
    return {**found, "device_peak_memory_mb": max(peaks)} if peaks else found


def _image_path(task: Task, name: str, sha256: str) -> str:
    """Where the image of a sample lies now; its bytes must be those that raw_samples saw."""
    from stalign_core.readers import image_file

    if not sha256:
        return ""
    (sample,) = (sample for sample in task.study.cohort.samples_of(task.partition) if sample.sample == name)
    path = image_file(sample)
    if path is None or task.study.fingerprints.record(path).sha256 != sha256:
        raise ImageError(
            str(path or sample.path), f"is not the image that {RAW} of {name} saw", remedy=f"materialise {RAW} first"
        )
    return str(path)


def _external_settings(representation: str, context: KeyContext) -> Mapping[str, Any]:
    return {"representation": context.settings.representations[representation]}


def _external_sources(representation: str, study: Study, donor: str) -> Sequence[SourceFile]:
    from stalign_core.readers import representation_file

    settings = study.settings.representations[representation]
    return [
        SourceFile(sample.sample, _EXTERNAL_ROLE, representation_file(sample, settings))
        for sample in study.cohort.samples_of(donor)
    ]


def _read_external(representation: str, task: Task) -> None:
    from stalign_core.readers import read_external_representation, representation_file
    from stalign_core.readers.native_probe import check_native_files

    raw = task.one(RAW)
    settings = task.settings.representations[representation]
    samples = {sample.sample: sample for sample in task.study.cohort.samples_of(task.partition)}
    for name in samples_of(raw):
        made_of = {"source": task.source_hashes[f"{name}/{_EXTERNAL_ROLE}"], "settings": task.key_settings}
        if task.builder.reuse_part(name, {**_part_key(raw, _EXTERNAL_VERSION, f"{name}.spots.parquet"), **made_of}):
            continue
        barcodes = raw.table(f"{name}.spots.parquet")["barcode"].to_numpy(dtype=object)
        check_native_files([representation_file(samples[name], settings)])
        features = read_external_representation(samples[name], settings, barcodes.tolist())
        task.builder.write_arrays(f"{name}.safetensors", {"features": features}, part=name)
    task.builder.summary["n_samples"] = len(samples)


def _part_key(raw: Artifact, code_version: int, *files: str) -> dict[str, Any]:
    return {"content": raw.used_hash(files), "code": code_version}
