"""Rows that are measured against PyTorch: runs of vqjax, each with its twin there, on images of noise.

How long a step takes does not depend on what is in the images.
"""

import contextlib
import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import torch
import torch.nn.functional as F
from ml_collections import ConfigDict
from PIL import Image
from torch import nn

from benchmarks.torch_autoencoders import DeepMind, OpenAI
from benchmarks.torch_pixelcnn import PixelCNN
from benchmarks.torch_resnet import ResNet18
from benchmarks.torch_transformer import Transformer
from configs import cifar10_dalle, cifar10_ema, classifier, mnist, prior
from vqjax.config.schema import Settings
from vqjax.runs.accumulator import MetricsAccumulator
from vqjax.runs.devices import PARALLEL
from vqjax.runs.state import initial_state
from vqjax.training import loop
from vqjax.training.setup import plan, setup

CLASSES = 10
_IMAGES = 800
_VARIANCE = 1 / 12  # of the noise's pixels


class Row(NamedTuple):
    """A run and its twin.

    Attributes:
      config: a directory in which all that the rows need lies -> the run's config.
      twin: makes the twin.
      loss: what the twin is trained by: the twin and a batch, its `image` (B, C, H, W) in [-1, 1] -> ().
      batch_sizes: global ones.
    """

    config: Callable[[Path], ConfigDict]
    twin: Callable[[], nn.Module]
    loss: Callable[[nn.Module, Mapping[str, torch.Tensor]], torch.Tensor]
    batch_sizes: tuple[int, ...]


def _squared_error(model: nn.Module, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
    output, loss = model(batch["image"])
    return F.mse_loss(output, batch["image"]) / _VARIANCE + loss


def _logit_laplace(model: nn.Module, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
    output, loss = model(batch["image"])
    mu, log_b = output.float().chunk(2, dim=1)
    x = 0.4 * batch["image"] + 0.5
    return (torch.abs(torch.logit(x) - mu) * torch.exp(-log_b) + log_b + torch.log(2 * x * (1 - x))).mean() + loss


def _of_labels(model: nn.Module, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
    logits, loss = model(batch["image"])
    return F.cross_entropy(logits, batch["label"]) + loss


def _of_codes(model: nn.Module, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
    return F.cross_entropy(model(batch["codes"], batch["label"]), batch["codes"])


def _on_noise(config: ConfigDict, place: Path, size: int, channels: int) -> ConfigDict:
    """The config on images that are written when they are first asked for."""
    path = place / f"noise-{size}-{channels}"
    if not path.exists():
        rng = np.random.default_rng(0)
        for number in range(_IMAGES):
            pixels = rng.integers(0, 256, (size, size, channels), dtype=np.uint8).squeeze()
            (path / f"{number % CLASSES}").mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path / f"{number % CLASSES}" / f"{number}.png")
    config.data.update({"name": "folder", "path": str(path), "size": str(size), "channels": channels, "test": 0.05})
    config.data.update({"validation": 0.0, "cache": False, "flip": False, "crop": 0})
    return config


def _prior(name: str, **fields: Any) -> Callable[[Path], ConfigDict]:
    """Return a prior's config on the codes of an autoencoder that has hardly begun."""

    def config(place: Path) -> ConfigDict:
        stage1 = place / "stage1"
        if not stage1.exists():
            first = _on_noise(cifar10_ema.get_config(), place, 32, 3)
            first.steps = 1
            with contextlib.redirect_stdout(io.StringIO()):
                loop.train(first, stage1)
            jax.clear_caches()
        made = prior.get_config()
        made.stage1, made.data.validation, made.model.prior = str(stage1), 0.0, name
        made.model[name].update(fields)
        return made

    return config


def _classifier(width: int) -> Callable[[Path], ConfigDict]:
    def config(place: Path) -> ConfigDict:
        made = _on_noise(classifier.get_config("cifar10"), place, 32, 3)
        made.model.resnet18.width = width
        return made

    return config


ROWS = {
    "cifar10_ema": Row(
        lambda place: _on_noise(cifar10_ema.get_config(), place, 32, 3),
        lambda: DeepMind(3, 128, 32, 64, 512, 1.0),
        _squared_error,
        (32, 256),
    ),
    "mnist": Row(
        lambda place: _on_noise(mnist.get_config(), place, 28, 1),
        lambda: DeepMind(1, 64, 32, 32, 256, 1.0),
        _squared_error,
        (64,),
    ),
    "cifar10_dalle": Row(
        lambda place: _on_noise(cifar10_dalle.get_config(), place, 32, 3),
        lambda: OpenAI(3, 48, 3, 64, 512),
        _logit_laplace,
        (32,),
    ),
    "cifar10_prior": Row(_prior("pixelcnn"), lambda: PixelCNN(512, CLASSES, 64, 15, 512), _of_codes, (64,)),
    "cifar10_transformer": Row(
        _prior("transformer", order="raster"),
        lambda: Transformer((8, 8), 512, CLASSES, 128, 8, 4, 0.1),
        _of_codes,
        (64,),
    ),
    "classifier_narrow": Row(_classifier(8), lambda: ResNet18(3, 8, 512, CLASSES), _of_labels, (128,)),
    "classifier_wide": Row(_classifier(64), lambda: ResNet18(3, 64, 512, CLASSES), _of_labels, (128,)),
}


def _narrow(name: str, twin: Callable[[], nn.Module], **model: Any) -> Row:
    """A row with other fields of the model, for the few steps of a test."""

    def config(place: Path) -> ConfigDict:
        made = ROWS[name].config(place)
        made.model.update(model)
        return made

    return ROWS[name]._replace(config=config, twin=twin, batch_sizes=(8,))


TINY = {
    "cifar10_ema": _narrow("cifar10_ema", lambda: DeepMind(3, 8, 32, 64, 512, 1.0), deepmind={"width": 8}),
    "cifar10_dalle": _narrow("cifar10_dalle", lambda: OpenAI(3, 8, 3, 64, 512), openai={"width": 8}),
    "cifar10_prior": _narrow(
        "cifar10_prior", lambda: PixelCNN(512, CLASSES, 8, 2, 16), pixelcnn={"width": 8, "layers": 2, "head_width": 16}
    ),
    "cifar10_transformer": _narrow(
        "cifar10_transformer",
        lambda: Transformer((8, 8), 512, CLASSES, 16, 2, 2, 0.1),
        transformer={"width": 16, "layers": 2, "heads": 2},
    ),
    "classifier_wide": _narrow("classifier_wide", lambda: ResNet18(3, 4, 512, CLASSES), resnet18={"width": 4}),
}


def prepared(row: Row, place: Path, batch_size: int, **model: Any) -> ConfigDict:
    """The config of a row with a batch size and fields of the model."""
    config = row.config(place)
    config.batch_size = batch_size
    config.model.update(model)
    return config


class Stepper:
    """The compiled training step of a config alone, on a batch that lies on the device.

    Attributes:
      session: the run.
      batch: that, on the host.
    """

    def __init__(self, config: ConfigDict, devices: Sequence[jax.Device] | None = None):
        planned = plan(Settings.of(config))
        if devices:
            planned = planned._replace(layout=PARALLEL[planned.settings.parallel](devices))
        self.session = session = setup(planned)
        self.batch, layout = next(session.batches(whole=True)), session.layout
        self.step = layout.compile(session.step, donate=True)
        variables = jax.device_get(session.init(session.keys[0]))
        self.state = layout.replicate(jax.device_get(initial_state(variables, session.optimizer)))
        lay = layout.compile(lambda _, batch: batch, sharded=True)
        self._laid = lay((), layout.shard(self.batch))

    def __call__(self, steps: int) -> float:
        """Takes steps, several in flight; the loss after the last."""
        accumulator = MetricsAccumulator(self.session.layout, None)
        for _ in range(steps):
            self.state, metrics = self.step(self.state, self._laid)
            accumulator.add(metrics)
        found = self.session.layout.collect(metrics)
        return float(found["loss" if "loss" in found else "nats_per_code"])

    def flops(self) -> float:
        """FLOPs of a step on one device, by XLA's analysis before compilation, which counts cuDNN's share too."""
        return float(self.step.lower(self.state, self._laid).cost_analysis()["flops"])

    def compiled(self) -> Any:
        """The program, for what XLA tells of it."""
        return self.step.lower(self.state, self._laid).compile()


class Twin:
    """A row's twin in PyTorch, on a batch that is laid on the device each time.

    Args:
      row: whose.
      batch: on the host, as vqjax has it.
      amsgrad: Adam's variant.
      channels_last: the layout.
      device: of torch.
      dtype: of the computation; parameters are float32.
      compiled: by torch.compile.
    """

    def __init__(
        self,
        row: Row,
        batch: Mapping[str, np.ndarray],
        amsgrad: bool,
        channels_last: bool,
        device: str = "cpu",
        dtype: torch.dtype = torch.float32,
        compiled: bool = False,
    ):
        self._layout = torch.channels_last if channels_last else torch.contiguous_format
        self._device, self._dtype, self._batch = device, dtype, batch
        self.model = row.twin().to(device, memory_format=self._layout)
        self._loss = torch.compile(row.loss) if compiled else row.loss
        self._optimizer = torch.optim.Adam(self.model.parameters(), 3e-4, amsgrad=amsgrad)

    def _laid(self) -> dict[str, torch.Tensor]:
        found = {name: torch.from_numpy(x).to(self._device, non_blocking=True) for name, x in self._batch.items()}
        if "image" in found:
            image = found["image"].permute(0, 3, 1, 2).to(torch.float32) / 127.5 - 1
            found["image"] = image.contiguous(memory_format=self._layout)
        return {name: x if name == "image" else x.long() for name, x in found.items()}

    def __call__(self, steps: int) -> float:
        """Takes steps; the loss after the last."""
        for _ in range(steps):
            batch = self._laid()
            with torch.autocast(self._device, self._dtype, enabled=self._dtype != torch.float32):
                loss = self._loss(self.model, batch)
            self._optimizer.zero_grad()
            loss.backward()
            self._optimizer.step()
        return float(loss.detach())


def twin_of(name: str, batch: Mapping[str, np.ndarray], *arguments: Any, **options: Any) -> Twin:
    """Makes the twin of a row by its name, with all cores, in a process of its own; see `Twin`."""
    return Twin(ROWS[name], batch, *arguments, **options)


def described() -> str:
    """Device that is measured on."""
    device = jax.devices()[0]
    return f"jax {jax.__version__}, torch {torch.__version__}, {jax.device_count()} x {device.device_kind}"
