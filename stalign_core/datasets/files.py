"""The files of each public data set: under which names they are published, where, and their checksums where known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

_S3: Final = "https://spatial-dlpfc.s3.us-east-2.amazonaws.com"
_PILOT: Final = "https://raw.githubusercontent.com/LieberInstitute/HumanPilot/master/10X"
_ZENODO: Final = "https://zenodo.org/records/14620362/files"

LAYERS: Final = "barcode_level_layer_map.tsv"
"""Labels of all LIBD sections: barcode, section and layer, without a header."""

LUNG_FOLDER: Final = "TLS_VISIUM_USZ/h5ad_preprocessed"
"""Of the lung cohort's archive: one .h5ad per section."""


@dataclass(frozen=True)
class RemoteFile:
    """A published file.

    Attributes
    ----------
    name
        Its path in the folder that a user downloads into.
    url
        Where it is published.
    sha256
        Of its content, where it is known; otherwise empty.
    needed
        Whether a study cannot do without it.
    """

    name: str
    url: str
    sha256: str = ""
    needed: bool = True


_LIBD_COUNTS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "151507": "686521ab02a68dfdd810c3cde26daea2257d016c8047859877ffb8c7ac5bdd01",
        "151508": "48ab74b340c79f19070e433b8b7db67932a6e889d421a691f70293587fff0621",
        "151509": "35a4850aebdfdccb9fdf2f79cebeebc037684a79c03adb4bcdffa7c7c68486fc",
        "151510": "421a77bad2e08326a627d91a8994e1f47afb61b75aba815204b2b37c2aed26e9",
        "151669": "4c92c56291f22c31abdc76eb4d7e638ffc5b72e3c08de1142cd76ca731cbea14",
        "151670": "931f50b5de5aaa6a9e9c9d795f072a1f1f7f42a1602c849c61540b7f2258a5b1",
        "151671": "6b6b86696b377fb44fd367e80c3820209f8977cb62af4b4715c37c6faf80baa5",
        "151672": "a28ad2b88314d16b1bbde612fb80d12460ce84981cf4c00902ca046cafae4009",
        "151673": "216e8010e1c313925afa0f174207da7c8947497c960e81b07edbd16176460413",
        "151674": "0ecbabdb0ea98893f41bf7b557d8de50f1e9833eb2e55b69740b85b985c01880",
        "151675": "eba1f479b85df34dd6b58144c1fcdfbf2ad8fb01fe80caabb9bf64a2ce36394a",
        "151676": "f436605010a0133c96d1135f22fdd789317779287af58ba5af764fc1b28ea041",
    }
)
"""SHA-256 of the counts of each section, as others who downloaded them have published it; not checked by download."""


def counts_of(section: str) -> str:
    """The name of a LIBD section's counts."""
    return f"{section}_filtered_feature_bc_matrix.h5"


def libd_files() -> tuple[RemoteFile, ...]:
    """Of the twelve LIBD sections: counts and images of spatialLIBD's bucket, positions and labels of HumanPilot.

    Positions and scale factors have the same name in every section's folder, and keep that folder here.
    """
    found = []
    for section, sha256 in _LIBD_COUNTS.items():
        found += [
            RemoteFile(counts_of(section), f"{_S3}/h5/{counts_of(section)}", sha256),
            RemoteFile(f"{section}/tissue_positions_list.txt", f"{_PILOT}/{section}/tissue_positions_list.txt"),
            RemoteFile(f"{section}/scalefactors_json.json", f"{_PILOT}/{section}/scalefactors_json.json"),
        ]
        images = (
            f"{section}_tissue_hires_image.png",
            f"{section}_tissue_lowres_image.png",
            f"{section}_full_image.tif",
        )
        found += [RemoteFile(name, f"{_S3}/images/{name}", needed=False) for name in images]
    return (*found, RemoteFile(LAYERS, f"{_PILOT}/{LAYERS}", needed=False))


def lung_files() -> tuple[RemoteFile, ...]:
    """Of the lung cohort: one archive, to be unpacked where it is downloaded to."""
    return (RemoteFile("TLS_VISIUM_USZ.zip", f"{_ZENODO}/TLS_VISIUM_USZ.zip", needed=False),)
