"""The asset `atlas`: the cohort in the formats of other tools, made when it is asked for."""

from importlib.util import find_spec
from typing import Any, Final

import dagster as dg
from pydantic import Field

from stalign_assets.exporting import DEFAULT_FORMATS, EXPORTS_FOLDER, FORMATS, export_cohort
from stalign_assets.locking import using_store
from stalign_assets.measure import Measure
from stalign_assets.pages.content import reported_variant
from stalign_assets.platform.assets import failing_in_one_line
from stalign_assets.platform.metadata import cost_metadata
from stalign_assets.platform.resources import StudyResource
from stalign_assets.recipes.samples import RAW
from stalign_assets.reporting import watch
from stalign_core.settings import Settings

ATLAS: Final = "atlas"
_ATLAS_VERSION: Final = 1


class AtlasConfig(dg.Config):
    """What is exported."""

    variant: str = Field(default="", description="Whose domains; the variant of the reports unless named.")
    formats: list[str] = Field(
        default=[], description=f"Of {', '.join(FORMATS)}; all that the installed packages can write unless named."
    )


def atlas_asset(settings: Settings) -> dg.AssetsDefinition:
    """The asset that does what ``stalign export`` does."""
    variant = reported_variant(settings)
    read = [["cohort", variant, name] for name in ("domains", "spot_embeddings", "corrected_features")]

    @dg.asset(
        key=ATLAS,
        deps=[RAW, *read],
        group_name="results",
        description="exports/: the cohort for scanpy, SpatialData, Loupe Browser, QuPath, and as Parquet.",
        code_version=str(_ATLAS_VERSION),
        kinds={"anndata"},
    )
    def atlas(context: dg.AssetExecutionContext, config: AtlasConfig, study: StudyResource) -> dg.MaterializeResult:  # type: ignore[type-arg]
        with failing_in_one_line(), Measure() as measure:
            opened = study.of_run(context.run_id)
            watcher = watch(ATLAS, "", context.log.info)
            chosen = config.variant or reported_variant(opened.settings)
            with using_store(opened, watcher.say):
                done = export_cohort(opened, chosen, tuple(config.formats) or _formats(), progress=watcher.progress)
            watcher.said_done(f"{ATLAS}: written")
        files: dict[str, Any] = {each.format: [str(path) for path in each.files] for each in done}
        return dg.MaterializeResult(
            metadata={
                "variant": chosen,
                "n_spots": done[0].spots,
                "files": dg.MetadataValue.json(files),
                "folder": dg.MetadataValue.path(str(opened.folder / EXPORTS_FOLDER / chosen)),
                **cost_metadata(measure),
            }
        )

    return atlas


def _formats() -> tuple[str, ...]:
    """Formats whose packages are installed."""
    return FORMATS if find_spec("spatialdata") else DEFAULT_FORMATS
