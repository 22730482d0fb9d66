"""A study's cohort in the formats of other tools, made from what the store holds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from stalign_assets.recipes.samples import RAW
from stalign_assets.rows import samples_of
from stalign_core import keys
from stalign_core.errors import ArtifactError, SettingsError
from stalign_core.files import replacing
from stalign_core.progress import Progress, silent
from stalign_core.store.store import UNPARTITIONED

if TYPE_CHECKING:
    from stalign_assets.study import Study
    from stalign_core.exports import ExportSection
    from stalign_core.store import Artifact

FORMATS: Final = ("h5ad", "spatialdata", "loupe", "qupath", "parquet")
DEFAULT_FORMATS: Final = ("h5ad", "loupe", "qupath", "parquet")
EXPORTS_FOLDER: Final = "exports"


@dataclass(frozen=True)
class Exported:
    """Files of one format, and how many spots they hold."""

    format: str
    files: tuple[Path, ...]
    spots: int

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return {"format": self.format, "files": [str(path) for path in self.files], "spots": self.spots}


def export_cohort(
    study: Study,
    variant: str,
    formats: tuple[str, ...] = DEFAULT_FORMATS,
    folder: Path | None = None,
    progress: Progress | None = None,
) -> tuple[Exported, ...]:
    """Write the cohort's domains and embeddings of one variant; each file is replaced as a whole.

    Parameters
    ----------
    study
        Opened; its cohort scope was run.
    variant
        Whose results.
    formats
        Of `FORMATS`.
    folder
        Where they go; None for ``exports/<variant>`` of the study.
    progress
        Told what is being written.

    Raises
    ------
    SettingsError
        If the variant or a format is unknown, or a package is not installed.
    ArtifactError
        If the variant was not run.
    """
    for what, given, known in (("variant", (variant,), tuple(study.settings.variants)), ("format", formats, FORMATS)):
        for name in given:
            if name not in known:
                raise SettingsError(f"{what} '{name}'", "is not known", expected="one of " + ", ".join(known))
    source = CohortSource(study, variant)
    target = folder or study.folder / EXPORTS_FOLDER / variant
    target.mkdir(parents=True, exist_ok=True)
    told = progress or silent
    done = []
    for name in formats:
        done.append(_write(name, source, target, told))
    told("exported", len(formats), len(formats))
    return tuple(done)


class CohortSource:
    """Sections of a variant's results, read one at a time: the domains in force, and what they were made from.

    A donor's samples may have been read anew since, with a section more or less; then the domains are still told with
    the samples that they are of.

    Raises
    ------
    ArtifactError
        If the variant was not run.
    """

    def __init__(self, study: Study, variant: str) -> None:
        self.study, self.variant = study, variant
        self.domains = self._in_force(f"cohort/{variant}/domains")
        self.embeddings = self._made_from(f"cohort/{variant}/spot_embeddings")
        self.features = self._made_from(f"cohort/{variant}/corrected_features")
        self.table = self.domains.table("domains.parquet")
        self.donors = tuple(self.domains.manifest.donors)
        self.raw = {donor: self._made_from(RAW, donor) for donor in self.donors}
        self.samples = [(donor, sample) for donor in self.donors for sample in samples_of(self.raw[donor])]

    @property
    def facts(self) -> dict[str, Any]:
        """Where the results come from, for `stalign audit`."""
        manifest = self.domains.manifest
        return {"variant": self.variant, "asset": manifest.asset, "input_key": manifest.input_key}

    @property
    def domain_names(self) -> list[str]:
        """All domains of the cohort."""
        return sorted(set(self.table[keys.DOMAIN].astype(str)))

    def shared_genes(self) -> list[str]:
        """Genes that all sections have, in the order of the first."""
        import anndata

        shared: list[str] = []
        for position, (donor, sample) in enumerate(self.samples):
            found = anndata.read_h5ad(self.raw[donor].file(f"{sample}.counts.h5ad"), backed="r")
            names = found.var_names
            found.file.close()
            present = set(names)
            shared = list(names) if position == 0 else [gene for gene in shared if gene in present]
        return shared

    def sections(self, what: str, told: Progress) -> Iterator[ExportSection]:
        """Each section; `told` is what is done with them, and with which."""
        of_sample = dict(tuple(self.table.groupby("sample", sort=False)))
        for position, (donor, sample) in enumerate(self.samples):
            told(f"{what}: {sample}", position, len(self.samples))
            yield self._section(donor, sample, of_sample[sample])

    def _section(self, donor: str, sample: str, table: pd.DataFrame) -> ExportSection:
        from stalign_core.exports import ExportSection

        raw = self.raw[donor]
        counts = raw.anndata(f"{sample}.counts.h5ad")
        spots = raw.table(f"{sample}.spots.parquet")
        named = table.set_index("barcode").loc[spots["barcode"]]
        obs = pd.DataFrame(
            {
                keys.SAMPLE: sample,
                keys.DONOR: donor,
                keys.BARCODE: spots["barcode"].to_numpy(dtype=object),
                keys.DOMAIN: named[keys.DOMAIN].to_numpy(dtype=object),
                keys.DOMAIN_UNREFINED: named[keys.DOMAIN_UNREFINED].to_numpy(dtype=object),
                keys.LABEL: raw.table(f"{sample}.labels.parquet")["label"].to_numpy(dtype=object),
            }
        )
        for column in (keys.ARRAY_ROW, keys.ARRAY_COL):
            if column in spots:
                obs[column] = spots[column].to_numpy()
        features = self.features.arrays(f"{donor}.safetensors")
        method = self.study.settings.variants[self.variant].correction
        image = raw.json(f"{sample}.image.json")
        pictures, scales = self.pictures(sample)
        return ExportSection(
            sample=sample,
            counts=counts.X,
            genes=counts.var,
            obs=obs,
            obsm={
                keys.X_AESTETIK: self.embeddings.arrays(f"{donor}.safetensors")[sample],
                keys.expression_key(method): features[f"expression/{sample}"],
            },
            spatial=spots[["x", "y"]].to_numpy(dtype=np.float64),
            spot_diameter=float(image["spot_diameter"]),
            pictures=pictures,
            picture_scales=scales,
        )

    def pictures(self, sample: str) -> tuple[dict[str, Any], dict[str, float]]:
        """The Space Ranger folder's own small picture, where the sample has one and it is still there."""
        from stalign_core.readers.pictures import small_picture

        found = next((row for row in self.study.cohort.samples if row.sample == sample), None)
        picture = None if found is None else small_picture(found)
        return ({}, {}) if picture is None else ({picture[0]: picture[1]}, {picture[0]: picture[2]})

    def _in_force(self, asset: str) -> Artifact:
        found = self.study.store.current(asset, UNPARTITIONED)
        if found is None:
            raise ArtifactError(asset, "was not made", remedy="make it with 'stalign run STUDY'")
        return found

    def _made_from(self, asset: str, partition: str = UNPARTITIONED) -> Artifact:
        """The artifact that the domains in force were made from."""
        for record in self.domains.manifest.inputs:
            if (record.asset, record.partition) == (asset, partition):
                found = self.study.store.find(asset, partition, record.input_key)
                if found is not None:
                    return found
        raise ArtifactError(
            f"{asset} {partition}",
            f"from which {self.domains.manifest.asset} was made is not in the store any more",
            remedy="make it again with 'stalign run STUDY'",
        )


def _write(name: str, source: CohortSource, folder: Path, told: Progress) -> Exported:
    from stalign_core import exports

    sections = source.sections(f"writing {name}", told)
    atlas = folder / "atlas.h5ad"
    if name == "h5ad":
        spots = exports.write_atlas(atlas, sections, source.shared_genes(), source.facts)
        return Exported(name, (atlas,), spots)
    if name == "spatialdata":
        import anndata

        if not _is_of(atlas, source.facts):
            _write("h5ad", source, folder, told)
        whole = anndata.read_h5ad(atlas)
        path = folder / "atlas.zarr"
        exports.write_spatialdata(path, whole, sections, [sample for _, sample in source.samples])
        return Exported(name, (path,), whole.n_obs)
    if name == "parquet":
        return _write_parquet(sections, folder)
    files, spots = [], 0
    for section in sections:
        if name == "loupe":
            path = folder / "loupe" / f"{section.sample}.csv"
            spots += exports.write_loupe(path, section)
        else:
            path = folder / "qupath" / f"{section.sample}.geojson"
            spots += exports.write_qupath(path, section, source.domain_names)
        files.append(path)
    return Exported(name, tuple(files), spots)


def _is_of(atlas: Path, facts: dict[str, Any]) -> bool:
    """Whether an atlas that lies there holds the results in force, not those of another variant or an earlier run."""
    import h5py
    from anndata.io import read_elem

    if not atlas.is_file():
        return False
    with h5py.File(atlas) as file:
        return keys.STALIGN in file["uns"] and dict(read_elem(file["uns"][keys.STALIGN])) == facts


def _write_parquet(sections: Iterable[ExportSection], folder: Path) -> Exported:
    """Spots with their domains, and the embedding, as two tables with one row order."""
    obs, vectors = [], []
    for section in sections:
        obs.append(section.obs.assign(x=section.spatial[:, 0], y=section.spatial[:, 1]))
        vectors.append(section.obsm[keys.X_AESTETIK])
    table = pd.concat(obs, ignore_index=True)
    stacked = np.concatenate(vectors)
    embedding = pd.DataFrame(stacked, columns=[f"z{number}" for number in range(1, stacked.shape[1] + 1)])
    files = []
    for name, content in (
        ("spots", table),
        ("embedding", pd.concat([table[["sample", "barcode"]], embedding], axis=1)),
    ):
        path = folder / f"{name}.parquet"
        with replacing(path) as draft:
            content.to_parquet(draft, index=False)
        files.append(path)
    return Exported("parquet", tuple(files), len(table))
