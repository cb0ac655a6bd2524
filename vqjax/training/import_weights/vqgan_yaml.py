"""Models of taming-transformers as their yaml files describe them, to be compared with the weights."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from vqjax.system.errors import InputError, did_you_mean
from vqjax.system.paths import absolute_path

_MODELS = {"taming.models.vqgan.VQModel": False, "taming.models.vqgan.GumbelVQ": True}  # whether it is Gumbel's
_FIXED = {"double_z": False, "out_ch": 3, "resamp_with_conv": True}  # the values that are known here
_FREE = ("dropout",)  # fields of ddconfig that matter in training only


class Architecture(NamedTuple):
    """Sizes of a VQGAN.

    Attributes:
      gumbel: whether codes are by Gumbel-softmax; else they are the nearest.
      num_codes: K.
      code_dim: D.
      latent_width, width, multipliers, attention, blocks: as of `vqjax.networks.vqgan`.
      channels: of the images.
    """

    gumbel: bool
    num_codes: int
    code_dim: int
    latent_width: int
    channels: int
    width: int
    multipliers: tuple[int, ...]
    attention: tuple[int, ...]
    blocks: int


def read_yaml(file: str, weights: Architecture, weights_file: Path) -> int:
    """Check that a yaml file describes the weights of another file.

    Returns:
      The sides of the images that the model was trained on.

    Raises:
      InputError: the yaml is another one, has fields that are not known here, or describes other weights.
    """
    path = absolute_path(file, "--yaml")
    model = _load_model(path)
    params = model.get("params", {})
    networks = params.get("ddconfig") if isinstance(params, Mapping) else None
    target = model.get("target", next(iter(_MODELS)))
    if not isinstance(networks, Mapping) or target not in _MODELS:
        raise InputError(f"--yaml={file}: expected model.params.ddconfig of one of {', '.join(_MODELS)}")
    described, resolution = _fields(networks, f"--yaml={file}: ddconfig")
    described |= {"gumbel": _MODELS[target], "num_codes": params.get("n_embed"), "code_dim": params.get("embed_dim")}
    for name, value in weights._asdict().items():
        if described[name] != value:
            raise InputError(f"--yaml={file}: {name} is {described[name]}, those in {weights_file} have {value}")
    return resolution


def _load_model(path: Path) -> Mapping[str, Any]:
    """The section `model` of a yaml file, read as data."""
    try:
        content = yaml.safe_load(path.read_text())
    except (OSError, ValueError, yaml.YAMLError) as error:
        reason = str(error).partition("\n")[0]
        raise InputError(f"--yaml={path}: expected a yaml file: {reason}") from error
    model = content.get("model") if isinstance(content, Mapping) else None
    if not isinstance(model, Mapping):
        raise InputError(f"--yaml={path}: expected a section named model")
    return model


def _fields(networks: Mapping[str, Any], where: str) -> tuple[dict[str, Any], int]:
    """Fields of `Architecture` as ddconfig has them, and the resolution."""
    names = {"latent_width": "z_channels", "channels": "in_channels", "width": "ch", "blocks": "num_res_blocks"}
    known = (*names.values(), "ch_mult", "attn_resolutions", "resolution", *_FIXED, *_FREE)
    for name, value in networks.items():
        if name not in known:
            raise InputError(f"{where}.{name} is unknown.{did_you_mean(name, known)}\nKnown: {', '.join(known)}")
        if name in _FIXED and value != _FIXED[name]:
            raise InputError(f"{where}.{name}={value}: expected {_FIXED[name]}")
    try:
        multipliers = tuple(int(number) for number in networks["ch_mult"])
        resolution = int(networks["resolution"])
        sides = [resolution // 2**stage for stage in range(len(multipliers))]
        attention = tuple(stage for stage, side in enumerate(sides) if side in networks["attn_resolutions"])
        described = {ours: int(networks[theirs]) for ours, theirs in names.items()}
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{where}: expected numbers for {', '.join(known[:7])}; {error!r}") from error
    return {**described, "multipliers": multipliers, "attention": attention}, resolution
