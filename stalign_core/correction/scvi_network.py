"""scVI's network outside scvi-tools' model class: built from stored facts, and applied to counts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from stalign_core.devices import in_halves
from stalign_core.errors import CorrectionError

if TYPE_CHECKING:
    import torch
    from scipy.sparse import csr_matrix

NETWORK: Final = "network"
"""Key of the facts that holds the network's sizes."""
ROWS_PER_BLOCK: Final = 2048


def rebuild_scvi(arrays: dict[str, NDArray[Any]], facts: dict[str, Any]) -> torch.nn.Module:
    """The trained network, ready for `latent_means`.

    Parameters
    ----------
    arrays, facts
        As a `CorrectionResult` of `fit_scvi` holds them.

    Raises
    ------
    CorrectionError
        If the arrays are not the weights of a network of these sizes.
    """
    import torch

    from stalign_core.correction.random_state import torch_state_kept

    # Building draws initial weights, which are overwritten, from the global generator.
    with torch_state_kept():
        from scvi.module import VAE

        network: torch.nn.Module = VAE(**facts[NETWORK])
    try:
        network.load_state_dict({name: torch.from_numpy(np.array(array)) for name, array in arrays.items()})
    except RuntimeError as error:
        raise CorrectionError(
            "scvi", f"stored weights do not fit the network ({error})", remedy="compute the correction again"
        ) from None
    return network.eval()


def weights_of(network: torch.nn.Module) -> dict[str, NDArray[Any]]:
    """All weights and running statistics, by name."""
    return {name: tensor.detach().cpu().numpy().copy() for name, tensor in network.state_dict().items()}


def latent_means(network: torch.nn.Module, counts: csr_matrix) -> NDArray[np.float32]:
    """Mean of each spot's latent distribution, (n_spots, n_latent); the batch plays no part in it.

    Parameters
    ----------
    network
        Trained, in evaluation mode.
    counts
        Raw counts of the panel, (n_spots, n_genes).
    """
    import torch

    device = next(network.parameters()).device

    def means_of(block: csr_matrix) -> NDArray[Any]:
        expression = torch.from_numpy(block.toarray().astype(np.float32)).to(device)
        batch = torch.zeros((block.shape[0], 1), device=device)
        means: NDArray[Any] = network.inference(expression, batch)["qz"].loc.cpu().numpy()  # type: ignore[operator]
        return means

    with torch.inference_mode():
        return in_halves(means_of, counts, ROWS_PER_BLOCK)[0].astype(np.float32)
