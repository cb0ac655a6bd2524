"""Every file in configs/ builds, and takes a step on data of the right shape."""

import importlib
import json
from pathlib import Path

import numpy as np
import pytest

from vqjax import loop

CONFIGS = sorted(path.stem for path in (Path(__file__).parent.parent / "configs").glob("*.py"))
BASES = ("autoencoder", "prior")  # not run as they are


def one_step(name, folder):
    """Trains a config for one step, and before it its stage 1 if it has one; returns the workdir."""
    config = importlib.import_module(f"configs.{name}").get_config()
    config.update({"steps": 1, "batch_size": 8})
    if config.get("stage1"):
        config.stage1 = str(one_step(Path(config.stage1).name, folder))
    if config.task == "autoencoder":
        config.model.openai.blocks = 1  # half the time to compile
        choice = config.model.get(config.model.quantizer)
        choice.num_codes = min(choice.num_codes, 64)  # k-means of 512 codes takes seconds
    if config.task == "prior":
        config.model.pixelcnn.layers = 2
    assert loop.train(config, folder / name) == 0
    return folder / name


@pytest.mark.parametrize("name", [name for name in CONFIGS if name != "prior"])
def test_every_config_takes_a_step(name, mock_data, tmp_path):
    lines = (one_step(name, tmp_path) / "metrics.jsonl").read_text().splitlines()
    train, evaluation = map(json.loads, lines)
    assert train["split"] == "train" and evaluation["split"] in ("validation", "test")
    assert all(np.isfinite(value) for line in (train, evaluation) for name, value in line.items() if name != "split")


@pytest.mark.parametrize("name", [name for name in CONFIGS if name not in BASES])
def test_every_config_opens_with_its_command_hardware_time_and_result(name):
    docstring = importlib.import_module(f"configs.{name}").__doc__
    assert f"python train.py --config configs/{name}.py" in docstring
    figures = any(figure in docstring for figure in ("PSNR", "nats/code"))
    assert "not run here" in docstring or ("cores" in docstring and "min" in docstring and figures)
