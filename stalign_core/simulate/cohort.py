"""A simulated cohort on disk: Space Ranger folders, images, annotations and the sample sheet."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pandas as pd

from stalign_core.errors import InputDataError
from stalign_core.progress import Progress, silent
from stalign_core.simulate.design import CohortDesign
from stalign_core.simulate.histology import draw_donor_stain, draw_section_stain, render_histology
from stalign_core.simulate.section import donor_stain_stream, file_stream, image_stream, simulate_section
from stalign_core.simulate.spaceranger_writer import VINTAGES, write_annotation, write_section, write_tiled_tiff

CONDITIONS: Final = ("control", "treated")
"""A column that studies carry; donors take its values in turn, and it has no effect on anything simulated."""

DISTANCES_PER_CENTIMETRE: Final = 100.0


def simulate_cohort(
    folder: str | Path, design: CohortDesign | None = None, seed: int = 0, progress: Progress | None = None
) -> Path:
    """Simulate a cohort and write it in the layout that Space Ranger and a study have.

    Sections take the `VINTAGES` of Space Ranger in turn, so that a cohort of six holds both forms of positions, both of
    the matrix, a section with a shorter gene list and one whose full-resolution image is lost.

    Parameters
    ----------
    folder
        Where to write; made if need be. Files of an earlier simulation of the same design are replaced.
    design
        The cohort; by default 3 donors x 2 sections of about 600 spots.
    seed
        Seed of everything random.
    progress
        Told before each section.

    Returns
    -------
    Path of ``samples.csv``, written last, with the columns sample, donor, path, image, annotation, condition.

    Raises
    ------
    InputDataError
        If `folder` is a file.
    """
    folder, design, report = Path(folder), design or CohortDesign(), progress or silent
    if folder.exists() and not folder.is_dir():
        raise InputDataError(str(folder), "is a file", expected="a folder", remedy="give another folder")
    folder.mkdir(parents=True, exist_ok=True)

    places = [(donor, section) for donor in range(design.n_donors) for section in range(design.sections_per_donor)]
    rows = []
    for number, (donor_index, section_index) in enumerate(places):
        report(f"simulating {design.sample(donor_index, section_index)}", number, len(places))
        rows.append(_simulate_one(folder, design, donor_index, section_index, seed))
    sheet = folder / "samples.csv"
    pd.DataFrame(rows).to_csv(sheet, index=False)
    report("simulated the cohort", len(places), len(places))
    return sheet


def _simulate_one(
    folder: Path, design: CohortDesign, donor_index: int, section_index: int, seed: int
) -> dict[str, str]:
    """Simulate and write one section; return its row of the sample sheet."""
    vintage = VINTAGES[(donor_index * design.sections_per_donor + section_index) % len(VINTAGES)]
    section = simulate_section(design, donor_index, section_index, seed)
    leave_out = file_stream(seed, donor_index, section_index)
    if not vintage.all_genes:
        section = section.with_genes(leave_out.random(design.n_genes) >= design.missing_gene_fraction)
    annotated = leave_out.random(len(section.domain)) >= design.unannotated_fraction

    histology, drawn = design.histology, image_stream(seed, donor_index, section_index)
    donor_stain = draw_donor_stain(histology, donor_stain_stream(seed, donor_index))
    image = render_histology(section, draw_section_stain(donor_stain, histology, drawn), drawn)

    write_section(folder / section.sample, section, image, vintage, histology)
    annotation_path = f"annotations/{section.sample}.csv"
    write_annotation(folder / annotation_path, section, annotated)
    image_path = ""
    if vintage.full_resolution:
        image_path = f"images/{section.sample}.tif"
        resolution = histology.spot_distance_pixels * DISTANCES_PER_CENTIMETRE
        write_tiled_tiff(folder / image_path, image, histology.jpeg_quality, resolution)
    return {
        "sample": section.sample,
        "donor": section.donor,
        "path": section.sample,
        "image": image_path,
        "annotation": annotation_path,
        "condition": CONDITIONS[donor_index % len(CONDITIONS)],
    }
