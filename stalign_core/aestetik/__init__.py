"""The AESTETIK convolutional autoencoder: needs torch, numpy and lightning only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stalign_core.aestetik.settings import AestetikSettings

if TYPE_CHECKING:
    from stalign_core.aestetik.estimator import Aestetik

__all__ = ["Aestetik", "AestetikSettings"]


def __getattr__(name: str) -> Any:
    """Import the estimator, and torch with it, on first use: settings alone cost nothing."""
    if name == "Aestetik":
        from stalign_core.aestetik.estimator import Aestetik

        return Aestetik
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
