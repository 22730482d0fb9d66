"""The estimator that users call: fit, embed, save, load."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Generator, nn

from stalign_core.aestetik.inputs import ModelInput, Scaling, check_input
from stalign_core.aestetik.memory import FittingBatches
from stalign_core.aestetik.presets import PRESETS, Preset
from stalign_core.aestetik.settings import AestetikSettings
from stalign_core.aestetik.threads import one_thread
from stalign_core.aestetik.training import TrainingData, train
from stalign_core.aestetik.training_spots import training_spots
from stalign_core.aestetik.views import Views
from stalign_core.errors import ModelError
from stalign_core.progress import Progress, silent

FORMAT = 1
"""Version of the saved form; a newer one is refused."""
WEIGHTS_FILE = "model.safetensors"
FACTS_FILE = "model.json"
CHECKPOINT_FILE = "training.safetensors"


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
    batch_size_reduced_to
        After `fit`: most spots of a batch once the memory of the GPU had run out; None where it held every batch.
    """

    def __init__(self, settings: AestetikSettings | None = None, seed: int = 0) -> None:
        self.settings = settings or AestetikSettings()
        self.seed = seed
        self.history: list[dict[str, float]] = []
        self.batch_size_reduced_to: int | None = None
        self._model: nn.Module | None = None
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
        hexagonal: ArrayLike | None = None,
        batch: ArrayLike | None = None,
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
        hexagonal
            (n,) bool, whether a spot's cell was packed from a hexagonal array. The reference preset undoes the
            packing and must be told; the default does not ask.
        batch
            (n,) names or codes of what sets spots apart without being tissue, the donor above all: see the setting
            `partners`. None, or one batch alone, draws partners anywhere.
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
        given = check_input(expression, morphology, lattice, sample, has_morphology, hexagonal)
        batches = self._batches(batch, given.n_spots)
        if not 1 <= n_domains <= given.n_spots:
            raise ModelError("n_domains", f"is {n_domains}", expected=f"1 to {given.n_spots}, the number of spots")
        self._scaling = self._preset.fit_scaling(given)
        generator = Generator().manual_seed(self.seed)
        checkpoint = None if checkpoint_folder is None else Path(checkpoint_folder) / CHECKPOINT_FILE
        identity = self._identity(given, n_domains, batches)
        with one_thread():
            data = self._training_data(given, n_domains, batches)
            self._model = self._new_model(generator)
            fitting = FittingBatches()
            self.history = train(
                self._model, data, self.settings, generator, progress or silent, checkpoint, identity, fitting
            )
        self.batch_size_reduced_to = fitting.reduced_to
        return self

    def embed(
        self,
        expression: ArrayLike,
        morphology: ArrayLike,
        lattice: ArrayLike,
        sample: ArrayLike,
        has_morphology: ArrayLike | None = None,
        hexagonal: ArrayLike | None = None,
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
        given = check_input(expression, morphology, lattice, sample, has_morphology, hexagonal)
        self._scaling.check_fits(given)
        with one_thread():
            return _embed(self._model, self._preset.views(given, self._scaling, self.settings))

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

    @property
    def _preset(self) -> Preset:
        return PRESETS[self.settings.preset]

    def _new_model(self, generator: Generator) -> nn.Module:
        assert self._scaling is not None
        return self._preset.network(len(self._scaling.origin), self.settings, generator)

    def _training_data(self, given: ModelInput, n_domains: int, batches: NDArray[np.int64] | None) -> TrainingData:
        assert self._scaling is not None
        views = self._preset.views(given, self._scaling, self.settings)
        method = self.settings.triplet_labels
        # In their own units: the variance of a component says how much it counts.
        rows = views.grouped(method).numpy() * self._scaling.unit
        split = self._scaling.n_expression
        rng = np.random.default_rng(self.seed)
        everyone = np.ones(given.n_spots, dtype=bool)
        group = self._preset.group
        expression = group(rows[:, :split], given.sample, everyone, n_domains, method, rng, False)
        morphology = group(rows[:, split:], given.sample, given.has_morphology, n_domains, method, rng, True)
        return TrainingData(
            views=views,
            n_expression=split,
            expression_labels=torch.from_numpy(expression),
            morphology_labels=torch.from_numpy(morphology),
            n_labels=n_domains,
            has_morphology=torch.from_numpy(given.has_morphology),
            trained=torch.from_numpy(self._trained(given)),
            batch=None if batches is None else torch.from_numpy(batches),
        )

    def _trained(self, given: ModelInput) -> NDArray[np.int64]:
        """Spots that the training passes over."""
        if self.settings.train_fraction == 1:
            return np.arange(given.n_spots)
        rng = np.random.default_rng([self.seed, 1])
        return training_spots(given.lattice, given.sample, self.settings.train_fraction, rng)

    def _batches(self, batch: ArrayLike | None, n_spots: int) -> NDArray[np.int64] | None:
        """Codes of the batches that partners are drawn across, or None where they are drawn anywhere."""
        if batch is None or self.settings.partners == "any":
            return None
        names = np.asarray(batch)
        if names.shape != (n_spots,):
            raise ModelError("batch", f"has shape {names.shape}", expected=f"({n_spots},)")
        codes = np.unique(names, return_inverse=True)[1].astype(np.int64)
        return codes if codes.max(initial=0) > 0 else None

    def _identity(self, given: ModelInput, n_domains: int, batches: NDArray[np.int64] | None) -> str:
        """Hash of all that a training follows from."""
        digest = hashlib.sha256(json.dumps([asdict(self.settings), self.seed, n_domains, FORMAT]).encode())
        arrays: list[NDArray[Any]] = [given.expression, given.morphology, given.lattice, given.sample]
        arrays += [given.has_morphology] if given.hexagonal is None else [given.has_morphology, given.hexagonal]
        arrays += [] if batches is None else [batches]
        for array in arrays:
            digest.update(str((array.shape, array.dtype)).encode())
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()


def _embed(model: nn.Module, views: Views) -> NDArray[np.float32]:
    with torch.inference_mode():
        parts = [views.embed(model, spots) for spots in torch.split(torch.arange(views.n_spots), views.embed_spots)]
        return torch.cat(parts).numpy()
