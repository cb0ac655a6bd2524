"""Weights that other programs have published, as finished runs."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import jax
import numpy as np
from ml_collections import ConfigDict

from vqjax import tasks
from vqjax.config import loading
from vqjax.config.annotations import Range
from vqjax.config.check import check_name, check_value
from vqjax.config.schema import Settings
from vqjax.runs.metrics import RunningMean
from vqjax.runs.state import initial_state
from vqjax.runs.workdir import Workdir
from vqjax.system.errors import InputError, did_you_mean
from vqjax.system.files import atomic_directory, file_checksum, require_empty_directory
from vqjax.system.paths import absolute_path
from vqjax.training import optimizers


class StateDict:
    """The arrays of a file of PyTorch's, by name; each is taken once.

    Attributes:
      shapes: of all of them.
    """

    def __init__(self, path: Path):
        """Reads the file. Raises InputError if it holds anything but tensors by name, or PyTorch is missing."""
        try:
            import torch
        except ImportError as error:
            raise InputError(
                "the weights are a file of PyTorch's, and that is missing here. To install it:\n"
                "  pip install 'torch>=2.6'"
            ) from error
        if not path.is_file():
            raise InputError(f"{path}: no such file")
        try:
            found = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:  # of a dozen types, as the bytes have it
            reason = str(error).partition("\n")[0][:200]
            raise InputError(
                f"{path}: expected a state_dict as torch.save writes it, with tensors and nothing else in it.\n{reason}"
            ) from error
        if not isinstance(found, Mapping) or not all(isinstance(value, torch.Tensor) for value in found.values()):
            raise InputError(f"{path}: expected a state_dict, tensors by name; found {type(found).__name__}")
        self._path, self._arrays = path, {str(name): value.float().numpy() for name, value in found.items()}
        self.shapes = {name: array.shape for name, array in self._arrays.items()}

    def __contains__(self, name: str) -> bool:
        return name in self._arrays

    def shape(self, name: str, axes: int) -> tuple[int, ...]:
        """Of an array of that many axes. Raises InputError if there is none."""
        if name not in self.shapes:
            raise InputError(f"{self._path}: {name} is missing.{did_you_mean(name, self.shapes)}")
        shape = self.shapes[name]
        if len(shape) != axes:
            raise InputError(f"{self._path}: {name} has shape {shape}, expected {axes} axes")
        return shape

    def take(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        """An array of that shape, float32. Raises InputError if there is none, or of another shape."""
        if self.shape(name, len(shape)) != shape:
            raise InputError(f"{self._path}: {name} has shape {self.shapes[name]}, expected {shape}")
        return self._arrays.pop(name)

    def finish(self) -> None:
        """Raises InputError if something has not been taken."""
        if self._arrays:
            shown = ", ".join(list(self._arrays)[:3])
            raise InputError(f"{self._path}: {len(self._arrays)} unknown names: {shown}")


class VQVAEImages:
    """VQ-VAE-Images (github.com/swasun/VQ-VAE-Images), trained on CIFAR-10: with EMA or without, weight-normed or not.

    A residual block adds to relu(x), and the blocks of a stack are one block, of which the file has a copy for each.

    Attributes:
      facts: of the data, as `datasets.facts` has them.
    """

    facts = {
        "dataset": "cifar10",
        "image_shape": (32, 32, 3),
        "class_names": ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
        "sizes": {"train": 50_000, "test": 10_000},
    }

    def __init__(self, state: StateDict):
        self._state = state
        blocks = [name for name in state.shapes if name.startswith("_encoder._residual_stack._layers.")]
        self._blocks = len({name.split(".")[3] for name in blocks})
        self._quantizer = "ema" if "_vq_vae._ema_w" in state else "vq"

    def config(self) -> ConfigDict:
        """Of a run that had made the weights, as far as the file tells; the rest as in the published runs."""
        config = loading.load_config(*loading.find_config("autoencoder"))
        num_codes, code_dim = self._state.shape("_vq_vae._embedding.weight", 2)
        config.model.update({"code_dim": code_dim, "quantizer": self._quantizer})
        for name in ("ema", "vq"):
            config.model[name].update(
                {"num_codes": num_codes, "beta": 0.25, "kmeans": False, "dead_code_threshold": 0.0}
            )
        sizes = {"width": self._channels("_encoder._conv_3"), "blocks": self._blocks, "relu_skip": True}
        if self._blocks:
            sizes["residual_width"] = self._channels("_encoder._residual_stack._layers.0._block.1")
        config.model.deepmind.update(sizes)
        config.optimizer.codebook_rate = 1.0
        return config

    def variables(self, expected: Mapping[str, Any]) -> dict[str, Any]:
        """The model's variables, of the names and shapes that are expected."""
        params = expected["params"]
        encoder = [f"_encoder._conv_{i}" for i in (1, 2, 3)] + self._residual("_encoder") + ["_pre_vq_conv"]
        decoder = ["_decoder._conv_1"] + self._residual("_decoder")
        transposed = ["_decoder._conv_trans_1", "_decoder._conv_trans_2"]
        if "_encoder._conv3.bias" in self._state:  # the third layer again, under another name
            self._layer("_encoder._conv3", params["encoder"]["Conv_2"], (3, 2, 0, 1))
        networks = {
            "encoder": self._layers(encoder, params["encoder"], "Conv", (3, 2, 0, 1)),
            "decoder": self._layers(decoder, params["decoder"], "Conv", (3, 2, 0, 1))
            | self._layers(transposed, params["decoder"], "ConvTranspose", (2, 3, 0, 1)),
        }
        num_codes, code_dim = self._state.shape("_vq_vae._embedding.weight", 2)
        codebook = self._state.take("_vq_vae._embedding.weight", (num_codes, code_dim))
        if self._quantizer == "vq":
            frequency = np.full(num_codes, 1 / num_codes, np.float32)
            learned = {"quantizer": {"codebook": codebook}}
            return {"params": networks | learned, "codebook": {"quantizer": {"frequency": frequency}}}
        self._state.take("_vq_vae._ema_w", codebook.shape)
        frequency = _powers_of_two(self._state.take("_vq_vae._ema_cluster_size", (num_codes,)))
        means = {"frequency": frequency, "mean": codebook * frequency[:, None]}
        return {"params": networks, "codebook": {"quantizer": means}}

    def _residual(self, network: str) -> list[str]:
        stack = f"{network}._residual_stack._layers"
        return [f"{stack}.{i}._block.{layer}" for i in range(self._blocks) for layer in (1, 3)]

    def _channels(self, layer: str) -> int:
        """That come out of a convolution."""
        return self._state.shape(f"{layer}.weight_v" if f"{layer}.weight_v" in self._state else f"{layer}.weight", 4)[0]

    def _layers(
        self, layers: list[str], expected: Mapping[str, Any], kind: str, order: tuple[int, ...]
    ) -> dict[str, Any]:
        ours = [f"{kind}_{i}" for i in range(len(layers))]
        return {name: self._layer(layer, expected[name], order) for name, layer in zip(ours, layers)}

    def _layer(self, layer: str, expected: Mapping[str, Any], order: tuple[int, ...]) -> dict[str, np.ndarray]:
        """Our parameters of a layer of theirs, whose axes have the `order` in ours; weight norm is folded in."""
        shape = tuple(expected["kernel"].shape[axis] for axis in order)
        if f"{layer}.weight_v" in self._state:
            v = self._state.take(f"{layer}.weight_v", shape)
            g = self._state.take(f"{layer}.weight_g", (shape[0], 1, 1, 1))
            kernel = v * (g / np.sqrt(np.sum(v**2, axis=(1, 2, 3), keepdims=True)))
        else:
            kernel = self._state.take(f"{layer}.weight", shape)
        found = {"kernel": kernel.transpose(np.argsort(order))}
        if "bias" in expected:
            found["bias"] = self._state.take(f"{layer}.bias", expected["bias"].shape)
        return found


SOURCES: dict[str, Callable[[StateDict], VQVAEImages]] = {"vq-vae-images": VQVAEImages}


def _powers_of_two(counts: np.ndarray) -> np.ndarray:
    """The codes' frequencies by their counts (K,), to the nearest power of two: a product by it divides exactly."""
    share = counts / max(counts.sum(), 1e-30)
    return np.exp2(np.round(np.log2(np.maximum(share, 2.0**-26)))).astype(np.float32)


def import_weights(source: str, file: str | Path, out: str | Path, variance: float) -> Workdir:
    """Makes a finished run of published weights: one checkpoint, after all the steps that its config has.

    Args:
      source: an entry of SOURCES, the program that they are of.
      file: a state_dict, as torch.save writes it. It is read as data: nothing in it is executed.
      out: the workdir to be, new or empty. It appears whole or not at all.
      variance: of the pixels that the weights were trained on, in [0, 1].

    Raises:
      InputError: an unknown source, another kind of file, names or shapes that the source does not have, a directory in
        use, or no PyTorch.
    """
    check_name(SOURCES, source, "source")
    check_value(variance, Annotated[float, Range(0, open_min=True)], "--variance")
    path, place = absolute_path(file, "file"), require_empty_directory(out, "a new or empty directory")
    state = StateDict(path)
    model = SOURCES[source](state)
    settings = Settings.of(model.config(), False)
    task = tasks.build_task(settings, model.facts)
    variables = model.variables(task.abstract_variables)
    state.finish()
    origin = {"program": source, "file": path.name, "sha256": file_checksum(path)}
    facts = {**task.facts, "variance": variance, "converted": origin}
    with atomic_directory(place) as temporary:
        workdir = Workdir(temporary)
        workdir.create(settings.plain, facts)
        _save(workdir, settings, variables)
    return Workdir(place)


def _save(workdir: Workdir, settings: Settings, variables: Mapping[str, Any]) -> None:
    """Save the one checkpoint of the run, after all of its steps."""
    optimizer, _ = optimizers.create_optimizer(settings.optimizer, settings.steps)
    state = jax.device_get(initial_state(variables, optimizer))._replace(step=np.int32(settings.steps))
    with workdir.checkpoints(create=True) as checkpoints:
        checkpoints.save(state, RunningMean().state)
