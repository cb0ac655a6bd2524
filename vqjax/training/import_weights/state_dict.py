"""Tensors of another program's model, by name, each used once."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from vqjax.system.errors import InputError, did_you_mean
from vqjax.training.import_weights.torch_files import Record, Tensor, read_torch

_SECTIONS = ("state_dict", "ema", "model")  # of a checkpoint, that may hold the weights; the first that is there


class StateDict:
    """The tensors of a file of torch.save by name; each is taken once.

    The file holds a state_dict, a module that was saved whole, or a checkpoint with either.

    Attributes:
      path: of the file.
      shapes: of all tensors.
    """

    def __init__(self, path: Path):
        """Reads the file. Raises InputError if it is another one, or has anything but tensors by name."""
        content = _weights(read_torch(path))
        if isinstance(content, Record) and "_modules" in content.attributes:
            content = dict(_module_tensors(content, ""))
        if not isinstance(content, Mapping) or not content:
            raise InputError(f"{path}: expected a state_dict, tensors by name; found {_kind(content)}")
        for name, value in content.items():
            if not isinstance(value, Tensor):
                raise InputError(f"{path}: expected a state_dict, tensors by name; {name} is {_kind(value)}")
        self.path = path
        self._tensors: dict[str, Tensor] = {str(name): tensor for name, tensor in content.items()}
        self.shapes = {name: tensor.shape for name, tensor in self._tensors.items()}

    def __contains__(self, name: str) -> bool:
        return name in self._tensors

    def shape(self, name: str, axes: int) -> tuple[int, ...]:
        """Shape of a tensor of that many axes. Raises InputError if there is none."""
        if name not in self.shapes:
            raise InputError(f"{self.path}: {name} is missing.{did_you_mean(name, self.shapes)}")
        shape = self.shapes[name]
        if len(shape) != axes:
            raise InputError(f"{self.path}: {name} has shape {shape}, expected {axes} axes")
        return shape

    def count(self, pattern: str, first: int = 0) -> int:
        """How many consecutive numbers from the `first` stand at the place "{}" of a pattern that names begin with."""
        number = first
        while any(name.startswith(pattern.format(number)) for name in self.shapes):
            number += 1
        return number - first

    def take(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        """Return a tensor of that shape, float32. Raises InputError if there is none, or of another shape."""
        if self.shape(name, len(shape)) != shape:
            raise InputError(f"{self.path}: {name} has shape {self.shapes[name]}, expected {shape}")
        try:
            return self._tensors.pop(name).numpy()
        except Exception as error:  # the numbers are read here
            raise InputError(f"{self.path}: {name} cannot be read: {error}") from error

    def take_kernel(self, name: str, kernel: Any, order: tuple[int, ...] = (3, 2, 0, 1)) -> np.ndarray:
        """Return a convolution's kernel, whose axes have the `order` in ours: (O, C, k, k) -> (k, k, C, O)."""
        return self.take(name, tuple(kernel.shape[axis] for axis in order)).transpose(np.argsort(order))

    def take_conv(
        self, layer: str, expected: Mapping[str, Any], names: tuple[str, str] = ("weight", "bias")
    ) -> dict[str, np.ndarray]:
        """Return our parameters of a convolution with a bias, which the file has by the layer's name and `names`."""
        kernel = self.take_kernel(f"{layer}.{names[0]}", expected["kernel"])
        return {"kernel": kernel, "bias": self.take(f"{layer}.{names[1]}", expected["bias"].shape)}

    def drop(self, prefix: str) -> None:
        """Leave out the tensors whose names begin so: the run does not need them."""
        self._tensors = {name: tensor for name, tensor in self._tensors.items() if not name.startswith(prefix)}

    def finish(self) -> None:
        """Raises InputError if something has not been taken."""
        if self._tensors:
            shown = ", ".join(list(self._tensors)[:3])
            raise InputError(f"{self.path}: {len(self._tensors)} unknown names: {shown}")


def _weights(content: Any) -> Any:
    """The part of a file's content with the weights."""
    sections = content if isinstance(content, Mapping) else {}
    return next((sections[name] for name in _SECTIONS if isinstance(sections.get(name), Mapping | Record)), content)


def _module_tensors(module: Record, prefix: str) -> Iterator[tuple[str, Any]]:
    """Names and tensors of a module that was saved whole, and of those in it, as its state_dict has them."""
    for section in ("_parameters", "_buffers", "_modules"):
        members = module.attributes.get(section)
        for name, value in members.items() if isinstance(members, Mapping) else ():
            if isinstance(value, Record) and section == "_modules":
                yield from _module_tensors(value, f"{prefix}{name}.")
            elif value is not None:
                yield f"{prefix}{name}", value


def _kind(value: Any) -> str:
    return "nothing" if value is None or value == {} else type(value).__name__
