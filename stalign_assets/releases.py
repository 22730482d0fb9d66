"""Pinning the domains in force as a release, and comparing releases with each other or with the present."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from stalign_assets.locking import using_store
from stalign_assets.planning import Freshness
from stalign_assets.recipes.graph import recipes_of
from stalign_assets.recipes.variant_steps.correspond import labels_of_spots
from stalign_core.errors import MissingArtifactError, StudyError
from stalign_core.store.releases import PinnedDomains, Release, check_new_name, keep_release, release_named, releases_of
from stalign_core.store.store import UNPARTITIONED

if TYPE_CHECKING:
    import pandas as pd

    from stalign_assets.study import Study


def pin(study: Study, name: str, variants: tuple[str, ...] = ()) -> Release:
    """Pin the cohort's domains in force, under the names that they have by the release before.

    Parameters
    ----------
    variants
        Those to pin; all that are up to date by default.

    Raises
    ------
    StudyError
        If a variant that is named is unknown, or it or every one is not up to date, or the name is taken.
    ArtifactError
        If an artifact is damaged.
    """
    check_new_name(study.store, name)
    freshness = Freshness(study, recipes_of(study.settings))
    unknown = [each for each in variants if each not in study.settings.variants]
    if unknown:
        raise StudyError(
            f"variant '{unknown[0]}'", "is none of the study's", expected="one of " + ", ".join(study.settings.variants)
        )
    chosen = variants or tuple(study.settings.variants)
    fresh = [each for each in chosen if freshness.holds(f"cohort/{each}/domain_correspondence", UNPARTITIONED)]
    stale = [each for each in chosen if each not in fresh]
    if not fresh or (variants and stale):
        raise StudyError(
            f"cohort domains of {', '.join(stale)}", "are not up to date", remedy="run 'stalign run STUDY' first"
        )
    with using_store(study, lambda _: None):
        releases = releases_of(study.store)
        number = max((release.number for release in releases), default=0) + 1
        pinned = {variant: _pinned(study, variant, releases) for variant in fresh}
        release = Release(name, number, datetime.now(UTC).isoformat(timespec="seconds"), pinned)
        keep_release(study.store, release)
    return release


def compare(study: Study, name: str, other: str | None) -> pd.DataFrame:
    """What became of each domain of a release, in another one or in the domains in force.

    Returns
    -------
    One row per variant and domain: ``released`` (its name, empty for one that came since), ``fate``, ``others``,
    ``n_spots``, ``n_shared`` and ``overlap``, the Dice index with the domain that it was matched with.
    """
    import pandas as pd

    from stalign_core.domains.correspondence import correspond, stable_names

    earlier = release_named(study.store, name)
    later = None if other is None else release_named(study.store, other)
    tables = []
    for variant, pinned in earlier.pinned.items():
        now = _labels_in_force(study, variant) if later is None else _labels_released(study, later, variant)
        if now is None:
            continue
        found = correspond(_named(study, pinned, name), now)
        given = stable_names(found, pinned.used) if later is None else {fate.domain: fate.domain for fate in found.now}
        rows = [
            {**vars(fate), "others": "; ".join(given[each] for each in fate.others), "side": name}
            for fate in found.earlier
        ]
        rows += [
            {**vars(fate), "domain": given[fate.domain], "others": "; ".join(fate.others), "side": other or "now"}
            for fate in found.now
            if fate.fate != "kept"
        ]
        tables.append(pd.DataFrame(rows).assign(variant=variant))
    if not tables:
        raise StudyError(
            f"release {name}",
            f"has no variant in common with {other or 'the domains in force'}",
            expected="domains of " + " or ".join(earlier.pinned),
            remedy="run these variants, or name another release",
        )
    columns = ["variant", "side", "domain", "fate", "others", "n_spots", "n_shared", "overlap"]
    return pd.concat(tables)[columns].reset_index(drop=True)


def _pinned(study: Study, variant: str, releases: list[Release]) -> PinnedDomains:
    asset = f"cohort/{variant}/domains"
    domains = study.store.current(asset, UNPARTITIONED)
    correspondence = study.store.current(f"cohort/{variant}/domain_correspondence", UNPARTITIONED)
    if domains is None or correspondence is None:
        raise MissingArtifactError(asset, "is not there any more", remedy="run 'stalign run STUDY' first")
    domains.verify()
    table = correspondence.table("names.parquet")
    names = dict(zip(table["domain"], table["stable_domain"], strict=True))
    before = [release.pinned[variant].used for release in releases if variant in release.pinned]
    used = tuple(sorted({*names.values(), *(each for earlier in before for each in earlier)}))
    return PinnedDomains(asset, UNPARTITIONED, domains.manifest.input_key, names, used)


def _labels_in_force(study: Study, variant: str) -> pd.Series[str] | None:
    current = study.store.current(f"cohort/{variant}/domains", UNPARTITIONED)
    return None if current is None else labels_of_spots(current)


def _labels_released(study: Study, release: Release, variant: str) -> pd.Series[str] | None:
    pinned = release.pinned.get(variant)
    return None if pinned is None else _named(study, pinned, release.name)


def _named(study: Study, pinned: PinnedDomains, release: str) -> pd.Series[str]:
    artifact = study.store.find(pinned.asset, pinned.partition, pinned.input_key)
    if artifact is None:
        raise MissingArtifactError(
            f"release {release}",
            f"names {pinned.asset}, which is not in the store any more",
            remedy="put it back from a copy of the store, or unpin the release",
        )
    return labels_of_spots(artifact).map(pinned.names)
