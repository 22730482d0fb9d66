"""`domain_correspondence`: the domains of now, named as the release that was pinned last names them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from stalign_assets.recipes.recipe import KeyContext, Task
from stalign_core.errors import MissingArtifactError
from stalign_core.store.releases import releases_of
from stalign_core.store.store import UNPARTITIONED

if TYPE_CHECKING:
    import pandas as pd

    from stalign_assets.study import Study
    from stalign_core.domains.correspondence import DomainFate
    from stalign_core.store import Artifact

UNPINNED: Final = "unpinned"
"""Fate of a domain where nothing is pinned that it could be compared with."""


def correspondence_settings(variant: str, context: KeyContext) -> Mapping[str, Any]:
    """The release pinned last that holds the variant's domains, and the names that it gives."""
    for release in reversed(releases_of(context.study.store)):
        if variant in release.pinned:
            pinned = release.pinned[variant]
            return {
                "release": release.name,
                "input_key": pinned.input_key,
                "names": pinned.names,
                "used": list(pinned.used),
            }
    return {"release": ""}


def pinned_domains(variant: str, study: Study) -> Artifact | None:
    """The domains that the release pinned last holds of the variant.

    Raises
    ------
    MissingArtifactError
        If they are not in the store any more.
    """
    for release in reversed(releases_of(study.store)):
        if variant in release.pinned:
            pinned = release.pinned[variant]
            return _pinned_artifact(study, pinned.asset, pinned.input_key, release.name)
    return None


def compare_with_release(asset: str, task: Task) -> None:
    """Name the domains of `asset`, and tell what became of those of the release."""
    import pandas as pd

    from stalign_core.domains.correspondence import correspond, stable_names

    now = labels_of_spots(task.one(asset))
    release = task.key_settings["release"]
    if not release:
        counts = now.value_counts()
        names = pd.DataFrame({"domain": sorted(counts.index), "stable_domain": sorted(counts.index), "fate": UNPINNED})
        task.builder.write_table("names.parquet", names.assign(n_spots=[int(counts[each]) for each in names["domain"]]))
        task.builder.summary.update(release="", n_domains=len(names))
        return
    pinned = _pinned_artifact(task.study, asset, task.key_settings["input_key"], release)
    found = correspond(labels_of_spots(pinned).map(task.key_settings["names"]), now)
    given = stable_names(found, task.key_settings["used"])
    fates = _table(found.now)
    fates.insert(1, "stable_domain", [given[fate.domain] for fate in found.now])
    task.builder.write_table("names.parquet", fates)
    task.builder.write_table("released.parquet", _table(found.earlier))
    overlap = found.overlap.rename_axis(index="released").reset_index()
    overlap = overlap.melt(id_vars="released", var_name="domain", value_name="n_spots")
    task.builder.write_table("overlap.parquet", overlap)
    told = {f"n_{fate}": sum(each.fate == fate for each in found.now) for fate in ("kept", "new", "split", "merged")}
    lost = sum(each.fate == "lost" for each in found.earlier)
    task.builder.summary.update(release=release, n_domains=len(fates), **told, n_lost=lost)
    kept = f"{told['n_kept']} of {len(fates)} domains keep their name"
    task.say(f"compared with release {release}: {kept}, {lost} of the release's are lost")


def labels_of_spots(domains: Artifact) -> pd.Series[str]:
    """Domain of each spot, by sample and barcode."""
    table = domains.table("domains.parquet")
    return table.set_index(["sample", "barcode"])["domain"]


def _pinned_artifact(study: Study, asset: str, input_key: str, release: str) -> Artifact:
    found = study.store.find(asset, UNPARTITIONED, input_key)
    if found is None:
        raise MissingArtifactError(
            f"release {release}",
            f"names {asset} {input_key}, which is not in the store any more",
            remedy=f"unpin it: 'stalign release unpin STUDY {release}'",
        )
    return found


def _table(fates: tuple[DomainFate, ...]) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame([{**vars(fate), "others": "; ".join(fate.others)} for fate in fates])
