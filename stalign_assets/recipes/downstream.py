"""What the cohort's domains of a variant mean: profiles, markers and programs, abundance, pathway activity.

In the cohort scope alone: a donor is one observation, and domains of single donors have no common names.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from stalign_assets.recipes.recipe import Input, KeyContext, Recipe, SourceFile, Task
from stalign_assets.recipes.samples import RAW
from stalign_assets.rows import samples_of
from stalign_core.errors import DownstreamError
from stalign_core.settings import variant_group

if TYPE_CHECKING:
    import pandas as pd

    from stalign_assets.study import Study
    from stalign_core.downstream import DomainProfiles, MarkerRules
    from stalign_core.settings import Settings
    from stalign_core.store import Artifact

PROFILES: Final = "domain_profiles"
MARKERS: Final = "domain_markers"
ABUNDANCE: Final = "domain_abundance"
ACTIVITY: Final = "pathway_activity"

_PROFILES_VERSION: Final = 1
_MARKERS_VERSION: Final = 2
_ABUNDANCE_VERSION: Final = 1
_ACTIVITY_VERSION: Final = 1

_NETWORK_ROLE: Final = "network"


def downstream_recipes(settings: Settings, variant: str) -> Iterator[Recipe]:
    """Recipes that follow the domains of a variant of the cohort."""
    prefix = f"cohort/{variant}"
    domains = Input(f"{prefix}/domains", ("domains.parquet",))
    common: dict[str, Any] = {
        "group": f"cohort_{variant_group(variant)}",
        "partitioning": "none",
        "variant": variant,
        "kinds": ("parquet",),
    }
    yield Recipe(
        asset=f"{prefix}/{PROFILES}",
        description="What each domain of each donor expresses, as sums over its spots; one part per donor.",
        code_version=_PROFILES_VERSION,
        inputs=(domains, Input(RAW, ("*.counts.h5ad",))),
        settings=_profile_settings,
        compute=partial(_sum_profiles, domains.asset),
        **{**common, "kinds": ("numpy",)},
    )
    yield Recipe(
        asset=f"{prefix}/{MARKERS}",
        description="Genes that mark a domain, a donor being one observation, and which of them hold in every donor.",
        code_version=_MARKERS_VERSION,
        inputs=(Input(f"{prefix}/{PROFILES}"),),
        settings=_marker_settings,
        compute=partial(_find_markers, f"{prefix}/{PROFILES}"),
        **common,
    )
    yield Recipe(
        asset=f"{prefix}/{ABUNDANCE}",
        description="Share of each domain in each sample, compared between the conditions of the sheet.",
        code_version=_ABUNDANCE_VERSION,
        inputs=(domains,),
        settings=_conditions,
        compute=partial(_compare_abundance, domains.asset),
        **common,
    )
    if settings.downstream.network is not None:
        yield Recipe(
            asset=f"{prefix}/{ACTIVITY}",
            description="Activity of each pathway of the study's network in each domain, by decoupler.",
            code_version=_ACTIVITY_VERSION,
            inputs=(Input(f"{prefix}/{PROFILES}"),),
            settings=activity_settings,
            compute=partial(_score_pathways, f"{prefix}/{PROFILES}"),
            sources=_network_sources,
            **common,
        )


def _profile_settings(context: KeyContext) -> Mapping[str, Any]:
    return {"target_sum": context.settings.expression.target_sum}


def _sum_profiles(domains_asset: str, task: Task) -> None:
    domains = task.one(domains_asset).table("domains.parquet")
    for donor, raw in task.each_donor(RAW):
        own = domains[domains["donor"] == donor]
        key = {
            "domains": own[["sample", "barcode", "domain"]].to_numpy().tolist(),
            "counts": raw.used_hash(["*.counts.h5ad"]),
            "settings": task.key_settings,
            "code": _PROFILES_VERSION,
        }
        if not task.builder.reuse_part(donor, key):
            _sum_donor(task, donor, raw, own)
    task.builder.summary.update(n_spots=len(domains), n_donors=len(task.donors))


def _sum_donor(task: Task, donor: str, raw: Artifact, domains: pd.DataFrame) -> None:
    """Sums over one donor's sections; the domains' table has their spots in the order of the counts."""
    from stalign_core.domains.numbering import natural_order
    from stalign_core.downstream import ProfileSums

    sums = ProfileSums(sorted(domains["domain"].unique(), key=natural_order), task.key_settings["target_sum"])
    for sample in samples_of(raw):
        counts = raw.anndata(f"{sample}.counts.h5ad")
        genes, symbols = (names.to_numpy(dtype=object) for names in (counts.var_names, counts.var["symbol"]))
        sums.add_section(counts.X, genes, symbols, domains.loc[domains["sample"] == sample, "domain"].to_numpy())
    arrays, genes_table, names = sums.result().to_arrays()
    task.builder.write_arrays(f"{donor}.safetensors", arrays, part=donor)
    task.builder.write_table(f"{donor}.genes.parquet", genes_table, part=donor)
    task.builder.write_json(f"{donor}.domains.json", names, part=donor)


def stored_profiles(stored: Artifact, donors: Sequence[str]) -> dict[str, DomainProfiles]:
    """Profiles of these donors, over the genes that all of them have."""
    from stalign_core.downstream import DomainProfiles, shared_profiles

    return shared_profiles(
        {
            donor: DomainProfiles.from_arrays(
                stored.arrays(f"{donor}.safetensors"),
                stored.table(f"{donor}.genes.parquet"),
                stored.json(f"{donor}.domains.json"),
            )
            for donor in donors
        }
    )


def _marker_settings(context: KeyContext) -> Mapping[str, Any]:
    settings = context.settings.downstream
    names = ("min_spots", "min_counts", "fdr", "min_log2_fold_change", "conserved_share")
    return {name: getattr(settings, name) for name in names}


def _rules(task: Task) -> MarkerRules:
    from stalign_core.downstream import MarkerRules

    names = ("min_spots", "min_counts", "fdr", "min_log2_fold_change")
    return MarkerRules(**{name: task.key_settings[name] for name in names})


def _find_markers(profiles_asset: str, task: Task) -> None:
    from stalign_core.downstream import find_markers, is_marker, marker_programs

    profiles = stored_profiles(task.one(profiles_asset), task.donors)
    rules = _rules(task)
    task.progress("testing genes", 0, 2)
    markers = find_markers(profiles, rules)
    found = is_marker(markers, rules)
    task.builder.write_table("markers.parquet", markers.assign(is_marker=found))
    task.progress("comparing donors", 1, 2)
    programs = marker_programs(profiles, rules, task.key_settings["conserved_share"])
    task.builder.write_table("programs.parquet", programs)
    told = programs["program"].value_counts()
    task.builder.summary.update(
        n_genes_tested=int(markers["gene"].nunique()),
        n_markers=int(found.sum()),
        n_conserved=int(told.get("conserved", 0)),
        n_donor_specific=int(told.get("donor-specific", 0)),
    )
    if markers["q"].isna().all():
        task.warn("markers are given without a test: fewer than 3 donors have enough spots of any domain")


def _conditions(context: KeyContext) -> Mapping[str, Any]:
    samples = context.study.cohort.samples
    named = {sample.sample: sample.condition for sample in samples if sample.donor in context.donors}
    return {
        "conditions": {name: condition for name, condition in sorted(named.items()) if condition},
        "fdr": context.settings.downstream.fdr,
    }


def _compare_abundance(domains_asset: str, task: Task) -> None:
    from stalign_core.downstream import abundance_differences, domain_abundance

    spots = task.one(domains_asset).table("domains.parquet")
    abundance = domain_abundance(spots["sample"], spots["donor"], spots["domain"])
    conditions: Mapping[str, str] = task.key_settings["conditions"]
    task.builder.write_table(
        "abundance.parquet", abundance.assign(condition=abundance["sample"].map(conditions).fillna(""))
    )
    task.builder.summary.update(n_conditions=len(set(conditions.values())))
    if not conditions:
        return
    try:
        differences = abundance_differences(abundance, conditions)
    except DownstreamError as error:
        # Shares stand all the same: too few donors are no fault of the cohort's.
        task.warn(error.line)
        return
    task.builder.write_table("differences.parquet", differences)
    task.builder.summary.update(
        n_comparisons=len(differences[["condition", "reference"]].drop_duplicates()),
        n_domains_that_differ=int((differences["q"] <= task.key_settings["fdr"]).sum()),
    )


def network_file(study: Study, setting: str, named: str) -> Path:
    """The network of pathways that a setting names, relative to the study folder or absolute.

    Raises
    ------
    DownstreamError
        If it is no file.
    """
    path = study.folder / named
    if not path.is_file():
        raise DownstreamError(setting, f"names {path}, which is no file", expected="a CSV: source,target[,weight]")
    return path


def network_source(path: Path) -> SourceFile:
    """The network as a raw file that counts by its content."""
    return SourceFile("cohort", _NETWORK_ROLE, path)


def _own_network(study: Study) -> Path:
    named = study.settings.downstream.network
    assert named is not None, "the asset is there only where a network is named"
    return network_file(study, "downstream.network", named)


def _network_sources(study: Study, partition: str) -> Sequence[SourceFile]:  # noqa: ARG001
    return [network_source(_own_network(study))]


def activity_settings(context: KeyContext) -> Mapping[str, Any]:
    """What activities of pathways depend on."""
    settings = context.settings.downstream
    return {name: getattr(settings, name) for name in ("activity_method", "min_spots", "min_targets", "fdr")}


def _score_pathways(profiles_asset: str, task: Task) -> None:
    from stalign_core.downstream import domain_activities, donor_activities, read_network

    settings = task.key_settings
    activities = donor_activities(
        stored_profiles(task.one(profiles_asset), task.donors),
        read_network(_own_network(task.study)),
        method=settings["activity_method"],
        min_spots=settings["min_spots"],
        min_targets=settings["min_targets"],
    )
    domains = domain_activities(activities)
    task.builder.write_table("donors.parquet", activities)
    task.builder.write_table("activities.parquet", domains)
    task.builder.summary.update(
        n_pathways=int(domains["pathway"].nunique()),
        n_significant=int((domains["q"] <= settings["fdr"]).sum()),
    )
