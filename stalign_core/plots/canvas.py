"""From figures to PNG bytes, and to thumbnails of a bounded size."""

from __future__ import annotations

import io
import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

from stalign_core.plots.palette import MISSING_COLOR

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DOTS_PER_INCH: Final = 110
_LEGEND_ROWS: Final = 16
_MAX_LEGEND_ENTRIES: Final = 48
THUMBNAIL_BYTES: Final = 90_000
THUMBNAIL_WIDTH: Final = 1000
_THUMBNAIL_WIDTHS: Final = (900, 800, 700, 600, 500, 400, 300, 200, 100, 50)
_THUMBNAIL_COLORS: Final = 64


def new_figure(width: float, height: float) -> Figure:
    """An empty figure on Agg, in inches, that arranges its parts itself."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def to_png(figure: Figure) -> bytes:
    """Draw a figure. The bytes carry no date and no software version, so equal figures are equal bytes."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DOTS_PER_INCH, metadata={"Software": None})
    return buffer.getvalue()


def to_svg(figure: Figure) -> bytes:
    """Draw a figure as SVG without a date; its text stays text."""
    import matplotlib

    buffer = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "stalign", "svg.fonttype": "none"}):
        figure.savefig(buffer, format="svg", dpi=DOTS_PER_INCH, metadata={"Date": None, "Creator": None})
    return buffer.getvalue()


def add_legend(figure: Figure, title: str, colors: dict[str, str]) -> None:
    """Name each colour to the right of all panels; see `legend_width` for the room it takes."""
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], linestyle="", marker="o", markersize=8, color=color, label=name)
        for name, color in legend_entries(colors).items()
    ]
    figure.legend(
        handles=handles,
        title=title,
        loc="outside right upper",
        frameon=False,
        ncols=_legend_columns(len(handles)),
        alignment="left",
        handletextpad=0.2,
    )


def legend_width(names: Iterable[str]) -> float:
    """Inches that a legend of these names takes."""
    lengths = [len(name) for name in names]
    return _legend_columns(len(lengths)) * (0.55 + 0.085 * max(lengths, default=0))


def legend_entries(colors: dict[str, str]) -> dict[str, str]:
    """The colours that a legend can name; a last entry without a colour counts the others."""
    if len(colors) <= _MAX_LEGEND_ENTRIES:
        return colors
    kept = dict(list(colors.items())[: _MAX_LEGEND_ENTRIES - 1])
    return {**kept, f"and {len(colors) - len(kept)} more": "none"}


def _legend_columns(n_entries: int) -> int:
    return max(1, math.ceil(n_entries / _LEGEND_ROWS))


def with_missing(colors: dict[str, str], is_missing: Any) -> dict[str, str]:
    """The colours, and grey for "none" where a spot needs it."""
    return {**colors, "none": MISSING_COLOR} if is_missing.any() else colors


def thumbnail(png: bytes, max_bytes: int = THUMBNAIL_BYTES, max_width: int = THUMBNAIL_WIDTH) -> bytes:
    """The picture, made smaller until it takes at most `max_bytes`: fewer colours first, then fewer pixels.

    Parameters
    ----------
    png
        A PNG; one that is small enough already comes back unchanged.
    max_bytes
        Bound of the result.
    max_width
        Its greatest width, in pixels: the UI's dialog shows no more without scrolling.

    Raises
    ------
    ValueError
        If no readable size fits.
    """
    from PIL import Image

    original = Image.open(io.BytesIO(png))
    if len(png) <= max_bytes and original.width <= max_width:
        return png
    picture = original.convert("RGB")
    widest = min(picture.width, max_width)
    for width in (widest, *(width for width in _THUMBNAIL_WIDTHS if width < widest)):
        height = max(1, round(picture.height * width / picture.width))
        smaller = picture.resize((width, height), Image.Resampling.LANCZOS)
        buffer = io.BytesIO()
        smaller.quantize(_THUMBNAIL_COLORS, dither=Image.Dither.NONE).save(buffer, format="PNG", optimize=True)
        if buffer.tell() <= max_bytes:
            return buffer.getvalue()
    raise ValueError(f"no thumbnail of this picture fits into {max_bytes} bytes")
