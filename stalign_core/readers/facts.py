"""What is known about a section besides its counts: kept in ``uns["stalign"]``, hashed and shown to users."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

LatticeKind = Literal["hexagonal", "square", "irregular"]
KeySpace = Literal["ensembl", "symbol"]
ImageKind = Literal["full", "hires", "lowres", "none"]


@dataclass(frozen=True)
class SampleFacts:
    """Facts of one section.

    Parameters
    ----------
    lattice
        How `array_row` and `array_col` are to be read: Visium's hexagonal lattice (their sum has one parity), the
        square one of ST arrays and Visium HD, or none.
    key_space
        Whether genes are keyed by Ensembl id or by symbol.
    image
        Absolute path of the image that morphology is read from; empty where there is none.
    image_kind
        The full-resolution image, a picture of the Space Ranger folder, or none.
    image_scale
        Image pixels per full-resolution pixel; 0 without an image.
    spot_diameter
        In full-resolution pixels.
    n_spots_off_tissue
        Spots that the input lists but marks as lying off the tissue; they are left out.
    warnings
        What a user should know about this input, one line each.
    sources
        Absolute paths of every raw file that was read, image and annotation included.
    """

    lattice: LatticeKind
    key_space: KeySpace
    image: str
    image_kind: ImageKind
    image_scale: float
    spot_diameter: float
    n_spots_off_tissue: int
    warnings: list[str]
    sources: list[str]

    def to_dict(self) -> dict[str, Any]:
        """The facts as plain values that JSON and .h5ad can hold."""
        return asdict(self)

    @classmethod
    def from_dict(cls, facts: Mapping[str, Any]) -> SampleFacts:
        """The facts as `to_dict` gave them, also after a round trip through .h5ad, which turns lists to arrays."""
        return cls(
            lattice=facts["lattice"],
            key_space=facts["key_space"],
            image=str(facts["image"]),
            image_kind=facts["image_kind"],
            image_scale=float(facts["image_scale"]),
            spot_diameter=float(facts["spot_diameter"]),
            n_spots_off_tissue=int(facts["n_spots_off_tissue"]),
            warnings=[str(line) for line in facts["warnings"]],
            sources=[str(path) for path in facts["sources"]],
        )
