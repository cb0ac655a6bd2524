"""Every file in configs/ builds, and takes a step on data of the right shape."""

import importlib
import json
from pathlib import Path

import numpy as np
import pytest

from vqjax import loop

CONFIGS = sorted(path.stem for path in (Path(__file__).parent.parent / "configs").glob("*.py"))


@pytest.mark.parametrize("name", CONFIGS)
def test_every_config_takes_a_step(name, mock_data, tmp_path):
    config = importlib.import_module(f"configs.{name}").get_config()
    config.update({"steps": 1, "batch_size": 8})
    config.model.openai.blocks = 1  # half the time to compile
    choice = config.model.get(config.model.quantizer)
    choice.num_codes = min(choice.num_codes, 64)  # k-means of 512 codes takes seconds
    assert loop.train(config, tmp_path) == 0
    train, test = map(json.loads, (tmp_path / "metrics.jsonl").read_text().splitlines())
    assert train["split"] == "train" and test["split"] == "test"
    assert all(np.isfinite(value) for line in (train, test) for name, value in line.items() if name != "split")


@pytest.mark.parametrize("name", CONFIGS)
def test_every_config_opens_with_its_command_hardware_time_and_result(name):
    docstring = importlib.import_module(f"configs.{name}").__doc__
    if name == "autoencoder":
        return  # the base is not run as it is
    assert f"python train.py --config configs/{name}.py" in docstring
    assert "not run here" in docstring or ("cores" in docstring and "min" in docstring and "PSNR" in docstring)
