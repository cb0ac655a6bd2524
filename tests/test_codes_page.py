"""docs/codes.md as its reader would follow it: from images to numbers and back, for every layout."""

import re
import shlex

import numpy as np
import pytest
from conftest import REPOSITORY

import vqjax
from vqjax.__main__ import main
from vqjax.training import loop

PAGE = (REPOSITORY / "docs" / "codes.md").read_text().split("## Layouts")[1]
SHAPES = {"digits": (4, 4), "digits_residual": (4, 4, 2), "digits_levels": {"top": (2, 2), "bottom": (4, 4)}}


@pytest.mark.more
def test_the_layouts_on_the_page_are_there_and_back(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, shape in SHAPES.items():
        config = vqjax.get_config(name)
        config.update({"steps": 2, "eval_every": 2, "save_every": 2, "batch_size": 16})
        config.model.deepmind.update(width=16, residual_width=4, blocks=1)
        assert loop.train(config, f"runs/{name}") == 0
        layout = vqjax.load(f"runs/{name}").layout
        levels = {level.name: level.shape for level in layout.levels}
        assert (levels if layout.by_name else levels["codes"]) == shape
    told = {}
    for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
        exec(block, told)
        assert told["pictures"].shape == (1797, 8, 8, 1)
    codes, model = told["codes"], told["model"]
    np.testing.assert_array_equal(told["pictures"][:50], model.reconstruct(told["images"][:50]))
    assert {name: grid.shape[1:] for name, grid in codes.items()} == SHAPES["digits_levels"]
    np.save("codes.npy", vqjax.load("runs/digits_residual").encode(told["images"][:3]))
    commands = [line for line in PAGE.splitlines() if line.startswith("python -m vqjax decode")]
    assert len(commands) == 2
    for number, line in enumerate(commands):
        assert main([*shlex.split(line.replace("--out previews", f"--out previews{number}"))[3:]]) == 0
