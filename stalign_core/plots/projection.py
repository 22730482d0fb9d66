"""An embedding in two dimensions, coloured by donor and by domain."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from stalign_core.domains.numbering import natural_order
from stalign_core.metrics.neighborhoods import find_neighborhoods
from stalign_core.plots.canvas import legend_entries, legend_width, new_figure, to_png, with_missing
from stalign_core.plots.palette import MISSING_COLOR, color_map

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_SPOTS: Final = 2000
_N_NEIGHBORS: Final = 15
_N_EPOCHS: Final = 200
_MIN_SPOTS: Final = 5
"""With fewer, the first two features stand for UMAP's axes."""


@dataclass(frozen=True)
class Projection:
    """Some spots of an embedding in the plane.

    Attributes
    ----------
    rows
        (n_drawn,) rows of the embedding, ascending.
    coordinates
        (n_drawn, 2) float32.
    """

    rows: npt.NDArray[np.int64]
    coordinates: npt.NDArray[np.float32]


def project(embedding: npt.NDArray[Any], seed: int, max_spots: int = MAX_SPOTS) -> Projection:
    """UMAP (McInnes et al. 2018) of a seeded subsample; one seed gives one picture.

    Parameters
    ----------
    embedding
        (n_spots, n_features), finite.
    seed
        Of the subsample and of UMAP.
    max_spots
        Size of the subsample.
    """
    rows = np.arange(len(embedding))
    if len(rows) > max_spots:
        rows = np.sort(np.random.default_rng(seed).choice(len(embedding), max_spots, replace=False))
    points = np.asarray(embedding, dtype=np.float32)[rows]
    if len(points) < _MIN_SPOTS:
        padded = np.pad(points, ((0, 0), (0, max(0, 2 - points.shape[1]))))
        return Projection(rows, padded[:, :2])
    neighborhoods = find_neighborhoods(points, min(_N_NEIGHBORS, len(points) - 1))
    with warnings.catch_warnings():
        # numba and umap warn about matters of their own, such as missing optional packages.
        warnings.simplefilter("ignore")
        from umap import UMAP

        _keep_compiled()
        reducer = UMAP(
            n_neighbors=neighborhoods.size,
            # umap's own search calls a Python function for each of the n^2 pairs: 2 s for 2,000 spots.
            precomputed_knn=(neighborhoods.indices, neighborhoods.distances),
            n_epochs=_N_EPOCHS,
            init="pca",
            random_state=seed,
            n_jobs=1,
        )
        coordinates = reducer.fit_transform(points)
    return Projection(rows, np.asarray(coordinates, dtype=np.float32))


def _keep_compiled() -> None:
    """Let numba keep on disk, as it does for other libraries, what umap-learn has it compile anew in each process: 6 s.

    Where no folder for that can be written, or umap-learn names them otherwise, they are compiled as before.
    """
    from umap import layouts, umap_

    with suppress(AttributeError, RuntimeError):
        for function in (
            umap_.smooth_knn_dist,
            umap_.compute_membership_strengths,
            layouts._nb_optimize_layout_euclidean_single_epoch,
        ):
            if not function.signatures:
                function.enable_caching()


def projection_figure(projection: Projection, colorings: dict[str, Any], *, title: str = "") -> bytes:
    """Draw one panel per colouring, such as donor and domain.

    Parameters
    ----------
    projection
        From `project`.
    colorings
        By panel title, (n_spots,) names for all spots of the embedding; missing ones are grey.
    title
        Above all panels.

    Returns
    -------
    PNG bytes.
    """
    colors_of = {name: _colors(groups) for name, groups in colorings.items()}
    legends = [legend_width(legend_entries(colors)) for colors in colors_of.values()]
    figure = new_figure(4.6 * len(colorings) + sum(legends), 4.4 + bool(title) * 0.4)
    axes = figure.subplots(1, len(colorings), squeeze=False)[0]
    # Drawn in file order, the last donor would hide the others.
    order = np.random.default_rng(0).permutation(len(projection.rows))
    for ax, (name, groups) in zip(axes, colorings.items(), strict=True):
        drawn = pd.Series(np.asarray(groups, dtype=object)[projection.rows[order]])
        _draw_points(ax, projection.coordinates[order], drawn, colors_of[name])
        ax.set_title(f"by {name}", fontsize=11)
    if title:
        figure.suptitle(title, fontsize=12, x=0.01, horizontalalignment="left")
    return to_png(figure)


def projection_grid(
    projections: Mapping[str, Projection],
    colorings: Mapping[str, Any],
    colors: Mapping[str, Mapping[str, str]] | None = None,
) -> Figure:
    """Draw several embeddings of the same spots: a row per colouring, a column per embedding.

    Parameters
    ----------
    projections
        By the name of the embedding.
    colorings
        As in `projection_figure`.
    colors
        By colouring, the colour of each group; the palette's own where a colouring is not named.
    """
    chosen = {name: dict((colors or {}).get(name) or _colors(groups)) for name, groups in colorings.items()}
    widest = max(legend_width(legend_entries(each)) for each in chosen.values())
    figure = new_figure(4.2 * len(projections) + widest, 4.0 * len(colorings))
    axes = figure.subplots(len(colorings), len(projections), squeeze=False)
    for row, (name, groups) in zip(axes, colorings.items(), strict=True):
        for ax, (title, projection) in zip(row, projections.items(), strict=True):
            order = np.random.default_rng(0).permutation(len(projection.rows))
            drawn = pd.Series(np.asarray(groups, dtype=object)[projection.rows[order]])
            _draw_points(ax, projection.coordinates[order], drawn, chosen[name])
            ax.set_title(f"{title}, by {name}", fontsize=11)
            if ax is not row[-1]:
                ax.get_legend().remove()
    return figure


def _colors(groups: Any) -> dict[str, str]:
    """Of all groups, drawn or not, so that one subsample is coloured as another."""
    named = pd.Series(np.asarray(groups, dtype=object)).dropna().astype(str)
    return color_map(sorted(named.unique(), key=natural_order))


def _draw_points(
    ax: Axes, coordinates: npt.NDArray[np.float32], groups: pd.Series[Any], colors: dict[str, str]
) -> None:
    is_missing = groups.isna()
    of_spot = groups.astype(str).map(colors).where(~is_missing, MISSING_COLOR)
    size = float(np.clip(12_000 / len(coordinates), 4, 30))
    ax.scatter(coordinates[:, 0], coordinates[:, 1], s=size, c=of_spot.to_list(), linewidths=0)
    entries = legend_entries(with_missing(colors, is_missing))
    for group, color in entries.items():
        ax.scatter([], [], s=45, color=color, label=group)
    ax.legend(
        loc="center left",
        bbox_to_anchor=(1, 0.5),
        frameon=False,
        ncols=1 + (len(entries) - 1) // 16,
        handletextpad=0.1,
        fontsize=9,
    )
    ax.set_xticks([])
    ax.set_yticks([])
    ax.set_xlabel("UMAP 1", fontsize=9)
    ax.set_ylabel("UMAP 2", fontsize=9)
    ax.spines[["top", "right"]].set_visible(False)
