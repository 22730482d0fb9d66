"""The settings of a study: typed, validated, read from and written to ``study.toml``."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PositiveInt,
    ValidationError,
    ValidatorFunctionWrapHandler,
    field_validator,
    model_validator,
)

from stalign_core.aestetik.settings import AestetikSettings
from stalign_core.errors import SettingsError
from stalign_core.naming import NAME_RULE, is_safe_name
from stalign_core.settings_faults import aestetik_from_table, settings_error, shown

STUDY_VERSION = 1
"""Version of the layout of a study folder; a newer one is refused."""

FEATURE_NAMES = (
    "features",
    "gene_panel",
    "expression_basis",
    "expression_pca",
    "correction_basis",
    "correction_pca",
    "representation_basis",
    "representation_pca",
    "morphology_basis",
    "morphology_pca",
    "morphology_harmony",
    "basis_drift",
)
"""What stands beside the variants within a scope, so that no variant may be called so."""

Scope = Literal["donor", "cohort"]
CorrectionMethod = Literal["uncorrected", "harmony", "scanorama", "scvi"]
Clusterer = Literal["kmeans", "tied"]
Unit = Annotated[float, Field(ge=0, le=1)]


class _Section(BaseModel):
    # Strict: "20" or true where a number stands is a slip, and guessing would hide it.
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class InputSettings(_Section):
    """What a sample must hold to take part."""

    min_spots: PositiveInt = Field(50, description="a section with fewer spots fails its check")
    min_genes: PositiveInt = Field(200, description="a section with fewer detected genes fails its check")


class ExpressionSettings(_Section):
    """From counts to principal components."""

    min_spots_per_gene: PositiveInt = Field(10, description="genes seen in fewer spots of the scope are dropped")
    n_top_genes: PositiveInt = Field(3000, description="highly variable genes kept (seurat_v3, batch = sample)")
    target_sum: float = Field(1e4, gt=0, description="library size per spot after normalisation, over the panel")
    scaling: Literal["auto", "cohort", "sample"] = Field(
        "auto",
        description="what corrected variants standardise a gene over: all spots of the scope, each sample, or auto: "
        "each sample where the scope holds several donors; 'uncorrected' always takes all spots",
    )
    n_components: PositiveInt = Field(20, description="length of every expression space, corrected or not")

    def scaling_of(self, n_donors: int) -> Literal["cohort", "sample"]:
        """What corrected variants standardise genes over in a scope of this many donors.

        Standardising within samples removes most of what sets donors apart, and costs accuracy between adjacent
        sections of one donor.
        """
        if self.scaling == "auto":
            return "sample" if n_donors > 1 else "cohort"
        return self.scaling


class MorphologySettings(_Section):
    """From the H&E image to principal components."""

    patch_diameters: float = Field(1.0, gt=0, le=10, description="side of a patch, in spot diameters")
    batch_size: PositiveInt = Field(64, description="patches per encoder call")
    n_components: PositiveInt = Field(20, description="length of the morphology space")
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="where the encoder runs")


class EncoderSettings(_Section):
    """One morphology encoder: a registered one by its name, or any timm model."""

    model: str = Field("texture", description="texture, inception_v3, uni2_h, or timm:<model name>")
    weights: str | None = Field(None, description="local checkpoint (.safetensors, .pth, .bin), used offline")
    revision: str | None = Field(
        None,
        description="commit of the hub whose published weights are taken (or a tag, or a branch); empty: its newest",
    )

    @field_validator("weights", "revision", mode="after")
    @classmethod
    def _none_if_empty(cls, text: str | None) -> str | None:
        return text or None


class RepresentationSettings(_Section):
    """An expression embedding computed elsewhere, which replaces the PCA."""

    obsm: str = Field(description="obsm key that holds the matrix, one row per spot")
    file: str | None = Field(
        None,
        description="an .h5ad per sample, '{sample}' standing for its name; empty: the sample's own .h5ad",
    )


class HarmonySettings(_Section):
    """Harmony (Korsunsky et al. 2019)."""

    theta: float = Field(2.0, ge=0, description="diversity penalty")
    max_iterations: PositiveInt = Field(10, description="rounds of clustering and correction")


class ScanoramaSettings(_Section):
    """Scanorama (Hie et al. 2019)."""

    sigma: float = Field(15.0, gt=0, description="width of the correction's smoothing kernel")
    n_neighbors: PositiveInt = Field(20, description="neighbours in the search for mutual ones")


class ScviSettings(_Section):
    """scVI (Lopez et al. 2018)."""

    n_layers: PositiveInt = Field(1, description="hidden layers of encoder and decoder")
    n_hidden: PositiveInt = Field(128, description="width of a hidden layer")
    max_epochs: PositiveInt = Field(400, description="upper bound; early stopping usually ends sooner")
    early_stopping_patience: PositiveInt = Field(5, description="epochs without a better validation ELBO")
    learning_rate: float = Field(4e-3, gt=0, description="step size; scvi-tools' own default is 1e-3")
    batch_size: PositiveInt = Field(256, description="spots per step")
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="where scVI is trained")


class CorrectionSettings(_Section):
    """What is corrected for, and each method's own settings."""

    covariate: Literal["sample", "donor"] = Field("sample", description="the batch that correction removes")
    harmony: HarmonySettings = HarmonySettings()
    scanorama: ScanoramaSettings = ScanoramaSettings()
    scvi: ScviSettings = ScviSettings()


class DomainSettings(_Section):
    """From embeddings to domains."""

    n_domains: PositiveInt | Literal["annotation"] | dict[str, PositiveInt] = Field(
        "annotation",
        description="K; or 'annotation', the number of labels in the scope; or a table of K per donor, "
        "'cohort' naming the cohort's",
    )
    clusterer: Clusterer = Field("tied", description="what names the domains: kmeans or tied Gaussian mixture")
    refine: bool = Field(True, description="majority vote over the nearest spots of the same sample")
    refine_neighbors: PositiveInt = Field(6, description="neighbours that vote, besides the spot itself")
    ignored_labels: tuple[str, ...] = Field(
        ("undetermined",),
        strict=False,  # TOML has lists alone
        description="labels that name no tissue: not counted in K, left out of scores",
    )

    @field_validator("n_domains", mode="wrap")
    @classmethod
    def _is_a_count(cls, value: Any, validate: ValidatorFunctionWrapHandler) -> Any:
        """One line for what would be three, one per form that K may take."""
        try:
            return validate(value)
        except ValidationError:
            raise SettingsError(
                "domains.n_domains",
                f"is {shown(value)}",
                expected="a whole number above 0, 'annotation', or a table of such per donor",
            ) from None


class MetricSettings(_Section):
    """How results are measured."""

    n_neighbors: PositiveInt = Field(90, description="neighbourhood of iLISI and kBET, in spots")
    max_spots: PositiveInt = Field(20_000, description="larger scopes are measured on a seeded subsample")
    bio_weight: Unit = Field(0.6, description="weight of biological conservation in the composite score")


class VariantSettings(_Section):
    """One choice of representation, encoder, correction method and weights, by name."""

    correction: CorrectionMethod = Field("harmony", description="uncorrected, harmony, scanorama or scvi")
    representation: str = Field("pca", description="pca, or a name under [representations]")
    encoder: str = Field("texture", description="a name under [encoders]")
    aestetik: dict[str, Any] = Field(
        default_factory=dict, description="changes to [aestetik], or to a preset named here"
    )


DaskCluster = Literal["local", "slurm", "pbs", "lsf", "sge", "ssh"]


class DaskSettings(_Section):
    """Where the engine ``dask`` finds its workers: a cluster that runs already, or one started for a command."""

    address: str | None = Field(None, description="scheduler of a running cluster, as tcp://host:8786; or give cluster")
    cluster: DaskCluster | None = Field(
        None, description="kind of cluster to start: slurm, pbs, lsf, sge, ssh, or local for processes of this machine"
    )
    workers: PositiveInt = Field(2, description="workers to start; a worker takes one step at a time")
    settings: dict[str, Any] = Field(
        default_factory=dict,
        description="arguments of dask-jobqueue's class: queue, account, walltime, memory, job_cpu ...",
    )
    gpu_settings: dict[str, Any] = Field(
        default_factory=dict, description="those of the workers that offer a GPU, where they differ"
    )
    connect_seconds: PositiveInt = Field(30, description="how long to try to reach the scheduler")
    worker_seconds: PositiveInt = Field(
        600, description="how long to wait for a worker that offers what a step needs, also after one was lost"
    )

    @field_validator("address", mode="after")
    @classmethod
    def _none_if_empty(cls, text: str | None) -> str | None:
        return text or None

    @field_validator("cluster", mode="before")
    @classmethod
    def _no_cluster_if_empty(cls, text: Any) -> Any:
        return None if text == "" else text


class KubernetesSettings(_Section):
    """What the engine ``kubernetes`` asks for: a job per step."""

    image: str | None = Field(None, description="container image that holds stalign, with its tag")
    namespace: str = Field("default", min_length=1, description="namespace of the jobs")
    service_account: str = Field("dagster", min_length=1, description="service account that may create jobs")
    instance_config_map: str = Field(
        "dagster-instance", min_length=1, description="config map with dagster.yaml, as Dagster's chart makes it"
    )
    gpu_resource: str = Field("nvidia.com/gpu", min_length=1, description="what a node with a GPU offers")
    gpus_per_step: PositiveInt = Field(1, description="GPUs that a step of the pool 'gpu' asks for")
    max_concurrent: PositiveInt = Field(8, description="jobs of a run at once")
    job: dict[str, Any] = Field(
        default_factory=dict,
        description="further settings of dagster-k8s' executor: volumes, volume_mounts, env_secrets, resources ...",
    )

    @field_validator("image", mode="after")
    @classmethod
    def _none_if_empty(cls, text: str | None) -> str | None:
        return text or None


class ExecutionSettings(_Section):
    """How the assets are run."""

    engine: Literal["local", "dask", "kubernetes"] = Field(
        "local", description="local: this machine; dask or kubernetes: a cluster, as the sections below say"
    )
    processes: PositiveInt = Field(
        1, description="of engine local: 1: all steps of a run in one process; more: a process per step"
    )
    threads: int = Field(
        0,
        ge=0,
        description="CPU threads of a step's libraries; 0: all cores; AESTETIK and clustering use one",
    )
    gpu_limit: PositiveInt = Field(1, description="steps that may hold the GPU at once (pool 'gpu')")
    dask: DaskSettings = DaskSettings()
    kubernetes: KubernetesSettings = KubernetesSettings()

    @model_validator(mode="after")
    def _engine_is_described(self) -> ExecutionSettings:
        if self.engine == "dask":
            _check_dask(self)
        if self.engine == "kubernetes" and self.kubernetes.image is None:
            raise SettingsError(
                "execution.kubernetes.image",
                "is empty",
                expected="the image that deploy/Dockerfile makes, with its tag",
            )
        return self


class IncrementalSettings(_Section):
    """What a changed cohort costs."""

    freeze_bases: bool = Field(
        False,
        description="keep the cohort's gene panel and bases when samples come, change or go: components of the others "
        "stand, and basis_drift says how far the frozen bases are from the cohort",
    )


def _default_variants() -> dict[str, VariantSettings]:
    return {
        "uncorrected": VariantSettings(correction="uncorrected"),
        "harmony": VariantSettings(correction="harmony"),
        "scanorama": VariantSettings(correction="scanorama"),
        "scvi": VariantSettings(correction="scvi"),
    }


class Settings(_Section):
    """Every setting of a study.

    Raises
    ------
    pydantic.ValidationError
        For an unknown key, a wrong type or an impossible value; `read_settings` turns it into a `SettingsError`.
    """

    study_version: PositiveInt = Field(STUDY_VERSION, description="layout of the study folder")
    seed: int = Field(0, ge=0, description="every random choice follows from it")
    store: str = Field(
        "store", min_length=1, description="folder of the artifacts, relative to the study, or an fsspec URL"
    )
    input: InputSettings = InputSettings()
    expression: ExpressionSettings = ExpressionSettings()
    morphology: MorphologySettings = MorphologySettings()
    encoders: dict[str, EncoderSettings] = Field(default_factory=lambda: {"texture": EncoderSettings()})
    representations: dict[str, RepresentationSettings] = Field(default_factory=dict)
    correction: CorrectionSettings = CorrectionSettings()
    aestetik: AestetikSettings = AestetikSettings()
    domains: DomainSettings = DomainSettings()
    metrics: MetricSettings = MetricSettings()
    variants: dict[str, VariantSettings] = Field(default_factory=_default_variants)
    incremental: IncrementalSettings = IncrementalSettings()
    execution: ExecutionSettings = ExecutionSettings()

    @field_validator("aestetik", mode="before")
    @classmethod
    def _read_aestetik(cls, value: Any) -> Any:
        return value if isinstance(value, AestetikSettings) else aestetik_from_table("aestetik", value)

    @model_validator(mode="after")
    def _names_are_known(self) -> Settings:
        for kind, names in (
            ("variants", self.variants),
            ("encoders", self.encoders),
            ("representations", self.representations),
        ):
            for name in names:
                if not is_safe_name(name):
                    raise SettingsError(f"{kind}.{name}", "is not a safe name", expected=NAME_RULE)
            _check_signs(kind, names)
        if "pca" in self.representations:
            raise SettingsError("representations.pca", "takes a built-in name", remedy="choose another name")
        if not self.variants:
            raise SettingsError(
                "variants", "is empty", expected="one or more", remedy="remove the line to get the default variants"
            )
        _check_variant_names(self.variants)
        _check_encoders(self.encoders)
        for name, variant in self.variants.items():
            self._check_variant(name, variant)
        return self

    def _check_variant(self, name: str, variant: VariantSettings) -> None:
        where = f"variants.{name}"
        if variant.encoder not in self.encoders:
            raise SettingsError(
                f"{where}.encoder",
                f"'{variant.encoder}' is not an encoder of this study",
                expected="one of " + ", ".join(self.encoders),
                remedy=f"add a section [encoders.{variant.encoder}]",
            )
        if variant.representation not in ("pca", *self.representations):
            raise SettingsError(
                f"{where}.representation",
                f"'{variant.representation}' is not a representation of this study",
                expected="one of " + ", ".join(["pca", *self.representations]),
                remedy=f"add a section [representations.{variant.representation}]",
            )
        if variant.correction == "scvi" and variant.representation != "pca":
            raise SettingsError(
                f"{where}.correction",
                "scvi learns from counts and cannot correct an external embedding",
                expected="uncorrected, harmony or scanorama",
            )
        self.aestetik_of(name)

    def aestetik_of(self, variant: str) -> AestetikSettings:
        """The model's settings for `variant`: the study's, with the variant's own changes.

        A variant that names a preset starts from that preset's values instead of the study's.
        """
        changes = self.variants[variant].aestetik
        start = {} if "preset" in changes else asdict(self.aestetik)
        return aestetik_from_table(f"variants.{variant}.aestetik", {**start, **changes})

    def n_domains_of(self, partition: str) -> int | Literal["annotation"]:
        """K for a donor, or for ``"cohort"``: a number, or ``"annotation"`` where the labels decide."""
        n_domains = self.domains.n_domains
        if isinstance(n_domains, dict):
            return n_domains.get(partition, "annotation")
        return n_domains


def _check_dask(execution: ExecutionSettings) -> None:
    """The engine needs one cluster, with as many workers as may hold a GPU at once."""
    dask = execution.dask
    if (dask.address is None) == (dask.cluster is None):
        raise SettingsError(
            "execution.dask",
            "gives neither address nor cluster" if dask.address is None else "gives both address and cluster",
            expected="address, of a running scheduler, or cluster, of a kind to start",
        )
    if dask.cluster is not None and dask.workers < execution.gpu_limit:
        raise SettingsError(
            "execution.dask.workers",
            f"is {dask.workers}, fewer than execution.gpu_limit",
            expected=f"at least {execution.gpu_limit}: a worker offers one GPU",
        )


def _check_variant_names(names: Iterable[str]) -> None:
    """A variant's results stand beside its scope's features."""
    for name in names:
        if name in FEATURE_NAMES:
            raise SettingsError(f"variants.{name}", "takes a built-in name", remedy="choose another name")


def _check_encoders(encoders: Mapping[str, EncoderSettings]) -> None:
    """The registry is loaded only for other models than the default one."""
    for name, encoder in encoders.items():
        if encoder.weights and encoder.revision:
            raise SettingsError(
                f"encoders.{name}.revision",
                "is set beside weights, which come from no hub",
                remedy="remove one of the two",
            )
    others = {name: encoder.model for name, encoder in encoders.items() if encoder.model != EncoderSettings().model}
    if others:
        from stalign_core.morphology.encoders.records import check_model_name

        for name, model in others.items():
            check_model_name(model, f"encoders.{name}.model")


def _check_signs(kind: str, names: Iterable[str]) -> None:
    """Dagster's names of groups and steps drop the signs of a name, so two names must not differ by them alone."""
    groups: dict[str, str] = {}
    for name in names:
        group = variant_group(name)
        if group in groups:
            raise SettingsError(
                f"{kind}.{name}",
                f"differs from '{groups[group]}' by a sign alone",
                expected="names that stay apart when '-' and '.' are read as '_'",
            )
        groups[group] = name


def variant_group(name: str) -> str:
    """A variant's name as part of a group's name, which holds letters, digits and ``_`` alone."""
    return name.replace("-", "_").replace(".", "_")


def parse_settings(table: dict[str, Any], where: str = "settings") -> Settings:
    """Validate a nested table of settings.

    Raises
    ------
    SettingsError
        For an unknown key, a wrong type, an impossible value, or a study of a newer version.
    """
    version = table.get("study_version", STUDY_VERSION)
    if isinstance(version, int) and version > STUDY_VERSION:
        raise SettingsError(
            f"{where}, study_version",
            f"is {version}, made by a newer stalign",
            expected=f"at most {STUDY_VERSION}",
            remedy="upgrade stalign",
        )
    try:
        return Settings.model_validate(table)
    except ValidationError as error:
        raise settings_error(where, error) from None
    except SettingsError as error:
        raise SettingsError(
            f"{where}, {error.where}", error.problem, expected=error.expected, remedy=error.remedy
        ) from None


def read_settings(path: Path) -> Settings:
    """Read and validate a ``study.toml``.

    Raises
    ------
    SettingsError
        If the file is missing, is no TOML, or holds a setting that cannot stand.
    """
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SettingsError(str(path), "does not exist", remedy="make it with 'stalign init'") from None
    except UnicodeDecodeError as error:
        raise SettingsError(str(path), f"is not UTF-8 text ({error.reason})") from None
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(str(path), f"is not valid TOML ({error})") from None
    except OSError as error:
        raise SettingsError(str(path), f"cannot be read ({error.strerror})") from None
    return parse_settings(table, where=str(path))
