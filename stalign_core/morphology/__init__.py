"""From the H&E image to one vector per spot: patches, encoders, embeddings."""

from __future__ import annotations

from stalign_core.morphology.embedding import MorphologyEmbedding, embed_section, embed_with
from stalign_core.morphology.encoders import load_encoder

__all__ = ["MorphologyEmbedding", "embed_section", "embed_with", "load_encoder"]
