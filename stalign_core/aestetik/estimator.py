"""The estimator that users call: fit, embed, save, load."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Generator, Tensor

from stalign_core.aestetik.inputs import ModelInput, Scaling, check_input, fit_scaling, scale_channels
from stalign_core.aestetik.labels import group_labels
from stalign_core.aestetik.network import Autoencoder
from stalign_core.aestetik.settings import AestetikSettings
from stalign_core.aestetik.threads import one_thread
from stalign_core.aestetik.training import TrainingData, train
from stalign_core.aestetik.windows import WindowTable, build_windows, make_batch, window_mean
from stalign_core.errors import ModelError
from stalign_core.progress import Progress, silent

FORMAT = 1
"""Version of the saved form; a newer one is refused."""
WEIGHTS_FILE = "model.safetensors"
FACTS_FILE = "model.json"
CHECKPOINT_FILE = "training.safetensors"
EMBED_SPOTS = 65_536
"""Spots embedded at a time, which bounds memory."""


class Aestetik:
    """One spatially aware embedding per spot, learned from expression and morphology of all samples.

    Parameters
    ----------
    settings
        What the model is and how it is trained.
    seed
        Every random choice follows from it; global random states are neither read nor changed.

    Attributes
    ----------
    history
        After `fit`: mean loss terms of each epoch.
    """

    def __init__(self, settings: AestetikSettings | None = None, seed: int = 0) -> None:
        self.settings = settings or AestetikSettings()
        self.seed = seed
        self.history: list[dict[str, float]] = []
        self._model: Autoencoder | None = None
        self._scaling: Scaling | None = None

    def fit(
        self,
        expression: ArrayLike,
        morphology: ArrayLike,
        lattice: ArrayLike,
        sample: ArrayLike,
        *,
        n_domains: int,
        has_morphology: ArrayLike | None = None,
        progress: Progress | None = None,
        checkpoint_folder: Path | None = None,
    ) -> Aestetik:
        """Train on the spots of all samples.

        Parameters
        ----------
        expression
            (n, t) corrected expression features.
        morphology
            (n, m) corrected morphology features; rows without morphology may hold anything finite.
        lattice
            (n, 2) packed (row, column), unique within a sample (`stalign_core.grid.pack_lattice`).
        sample
            (n,) sample of each spot, as integers.
        n_domains
            How many groups positives and negatives are drawn from.
        has_morphology
            (n,) bool; None means every spot has it.
        progress
            Told the loss terms after each epoch.
        checkpoint_folder
            Where the state after each epoch is kept. A fit with the same data, settings and seed continues
            from there, and ends as if it had never stopped.

        Raises
        ------
        ModelError
            If shapes disagree, a number is not finite or there are fewer spots than domains.
        """
        given = check_input(expression, morphology, lattice, sample, has_morphology)
        if not 1 <= n_domains <= given.n_spots:
            raise ModelError("n_domains", f"is {n_domains}", expected=f"1 to {given.n_spots}, the number of spots")
        self._scaling = fit_scaling(given)
        generator = Generator().manual_seed(self.seed)
        checkpoint = None if checkpoint_folder is None else Path(checkpoint_folder) / CHECKPOINT_FILE
        identity = self._identity(given, n_domains)
        with one_thread():
            data = self._training_data(given, n_domains)
            self._model = self._new_model(generator)
            history = train(self._model, data, self.settings, generator, progress or silent, checkpoint, identity)
        self.history = history.epochs
        return self

    def embed(
        self,
        expression: ArrayLike,
        morphology: ArrayLike,
        lattice: ArrayLike,
        sample: ArrayLike,
        has_morphology: ArrayLike | None = None,
    ) -> NDArray[np.float32]:
        """Embed spots, known or new, in the trained space: (n, n_latent).

        A spot's embedding follows from its own window alone, whatever else is embedded with it. Parameters
        are those of `fit`.

        Raises
        ------
        ModelError
            If the model is not fitted, or the input does not fit it.
        """
        if self._model is None or self._scaling is None:
            raise ModelError("Aestetik", "is not fitted", remedy="call fit or load first")
        given = check_input(expression, morphology, lattice, sample, has_morphology)
        self._scaling.check_fits(given)
        channels = _padded(scale_channels(given, self._scaling))
        table = build_windows(given.lattice, given.sample, self.settings.window)
        with one_thread():
            return _embed(self._model, channels, table)

    def save(self, folder: Path) -> None:
        """Write weights and scaling (safetensors) and settings (JSON) into `folder`.

        Raises
        ------
        ModelError
            If the model is not fitted.
        """
        from safetensors.torch import save_file

        if self._model is None or self._scaling is None:
            raise ModelError("Aestetik", "is not fitted", remedy="call fit first")
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        tensors = {f"model.{name}": value.contiguous() for name, value in self._model.state_dict().items()}
        tensors |= {f"scaling.{name}": torch.from_numpy(value) for name, value in self._scaling.to_arrays().items()}
        save_file(tensors, str(folder / WEIGHTS_FILE))
        facts = {
            "format": FORMAT,
            "settings": asdict(self.settings),
            "seed": self.seed,
            "n_expression": self._scaling.n_expression,
            "history": self.history,
        }
        (folder / FACTS_FILE).write_text(json.dumps(facts, indent=1), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Aestetik:
        """Read what `save` wrote.

        Raises
        ------
        ModelError
            If a file is missing, damaged, or of a newer version.
        """
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        folder = Path(folder)
        try:
            facts = json.loads((folder / FACTS_FILE).read_text(encoding="utf-8"))
            tensors = load_file(str(folder / WEIGHTS_FILE))
        except (OSError, ValueError, SafetensorError) as error:
            raise ModelError(
                str(folder), f"holds no readable model ({error})", remedy="fit and save it again"
            ) from None
        if facts.get("format", FORMAT + 1) > FORMAT:
            raise ModelError(str(folder), "was saved by a newer stalign", remedy="upgrade stalign")
        loaded = cls(AestetikSettings(**facts["settings"]), facts["seed"])
        loaded.history = facts["history"]
        scaling = {name[8:]: value.numpy() for name, value in tensors.items() if name.startswith("scaling.")}
        loaded._scaling = Scaling.from_arrays(scaling, facts["n_expression"])
        loaded._model = loaded._new_model(Generator().manual_seed(loaded.seed))
        loaded._model.load_state_dict({name[6:]: value for name, value in tensors.items() if name[:6] == "model."})
        loaded._model.eval()
        return loaded

    def _new_model(self, generator: Generator) -> Autoencoder:
        assert self._scaling is not None
        kernel_cells = min(3, self.settings.window) ** 2
        return Autoencoder(
            len(self._scaling.mean), kernel_cells, self.settings.n_hidden, self.settings.n_latent, generator
        )

    def _training_data(self, given: ModelInput, n_domains: int) -> TrainingData:
        assert self._scaling is not None
        channels = torch.from_numpy(scale_channels(given, self._scaling))
        table = build_windows(given.lattice, given.sample, self.settings.window)
        nearby = window_mean(channels, table.kernel)
        expression, morphology = self._grouped(nearby if self.settings.triplet_labels == "tied" else channels)
        rng = np.random.default_rng(self.seed)
        method = self.settings.triplet_labels
        everyone = np.ones(given.n_spots, dtype=bool)
        return TrainingData(
            channels=_padded(channels.numpy()),
            targets=nearby,
            n_expression=self._scaling.n_expression,
            expression_labels=torch.from_numpy(
                group_labels(expression, given.sample, everyone, n_domains, method, rng)
            ),
            morphology_labels=torch.from_numpy(
                group_labels(morphology, given.sample, given.has_morphology, n_domains, method, rng)
            ),
            n_labels=n_domains,
            has_morphology=torch.from_numpy(given.has_morphology),
            table=table,
            tiles=torch.from_numpy(np.column_stack([given.sample, given.lattice])),
        )

    def _grouped(self, channels: Tensor) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Expression and morphology in their own units: the variance of a component says how much it counts."""
        assert self._scaling is not None
        rows = channels.numpy() * self._scaling.deviation
        split = self._scaling.n_expression
        return rows[:, :split], rows[:, split:]

    def _identity(self, given: ModelInput, n_domains: int) -> str:
        """Hash of all that a training follows from."""
        digest = hashlib.sha256(json.dumps([asdict(self.settings), self.seed, n_domains, FORMAT]).encode())
        for array in (given.expression, given.morphology, given.lattice, given.sample, given.has_morphology):
            digest.update(str((array.shape, array.dtype)).encode())
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()


def _padded(channels: NDArray[np.float32]) -> Tensor:
    """Channels with a last row of zeros, which stands for empty cells."""
    return torch.from_numpy(np.vstack([channels, np.zeros((1, channels.shape[1]), dtype=np.float32)]))


def _embed(model: Autoencoder, channels: Tensor, table: WindowTable) -> NDArray[np.float32]:
    parts = []
    with torch.inference_mode():
        for spots in torch.split(torch.arange(table.n_spots), EMBED_SPOTS):
            parts.append(model.encoder(channels, table, make_batch(table, spots)).numpy())
    return np.concatenate(parts) if parts else np.zeros((0, model.encoder.to_latent.bias.numel()), np.float32)
