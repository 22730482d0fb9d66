"""Colours of domains and donors."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from typing import Final

PALETTE: Final[tuple[str, ...]] = (
    *("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#F0E442"),
    *("#003333", "#553300", "#002299", "#AADD88", "#1177FF", "#332266", "#CC3344", "#445577", "#6699FF"),
    *("#CCDD66", "#AADDFF", "#2255BB", "#88CC99", "#DD8855", "#447777", "#994400", "#337744"),
)
"""24 colours for colour-blind readers too: the seven of Okabe and Ito (2008), then the ones that stay farthest from all
before, from white and from `MISSING_COLOR` in CIELAB, under normal vision, protanopia and deuteranopia (simulated as by
Machado et al. 2009). The nearest two lie 15 apart; 2 can just be told."""

MISSING_COLOR: Final = "#D9D9D9"
"""Spots without a group."""


def color_map(groups: Sequence[str]) -> dict[str, str]:
    """One colour per group, in the order given: the palette, then lighter and darker rounds of it."""
    return {group: _color(position) for position, group in enumerate(groups)}


def _color(position: int) -> str:
    round_number, index = divmod(position, len(PALETTE))
    if round_number == 0:
        return PALETTE[index]
    red, green, blue = (int(PALETTE[index][start : start + 2], 16) / 255 for start in (1, 3, 5))
    hue, lightness, saturation = colorsys.rgb_to_hls(red, green, blue)
    lightness += (1 - lightness) * (1 - 0.6**round_number)
    mixed = colorsys.hls_to_rgb(hue, lightness, saturation)
    return "#" + "".join(f"{round(255 * value):02X}" for value in mixed)
