"""The notebook runs from top to bottom, and is kept without what it printed."""

import ast
import json

import pytest
from conftest import REPOSITORY
from helpers import on_one_device
from PIL import Image

NOTEBOOKS = sorted((REPOSITORY / "examples").glob("*.ipynb"))


def code_of(path):
    return [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_outputs_are_stripped(path):
    for cell in code_of(path):
        assert cell["outputs"] == [] and cell["execution_count"] is None, "".join(cell["source"])


def shown(source, where, names):
    """Return what Jupyter shows under a cell: the value of its last line, if that is an expression."""
    tree = ast.parse(source)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else ast.Expr(ast.parse("None", mode="eval").body)
    exec(compile(tree, where, "exec"), names)
    value = eval(compile(ast.Expression(last.value), where, "eval"), names)
    if isinstance(value, Image.Image):
        value.load()
    return value


@pytest.mark.slow
def test_the_tour_runs_from_top_to_bottom(tmp_path, monkeypatch):
    """On one device, as a reader has it."""
    on_one_device(monkeypatch)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))  # so that what a cell adds is taken away again
    names, results = {"__name__": "__main__"}, []
    for i, cell in enumerate(code_of(REPOSITORY / "examples" / "tour.ipynb")):
        results.append(shown("".join(cell["source"]), f"tour.ipynb, code cell {i + 1}", names))
    pictures = [result for result in results if isinstance(result, Image.Image)]
    assert len(pictures) >= 9 and all(min(picture.size) >= 64 for picture in pictures)
    assert names["tokenizer"].metrics["psnr"] > 18 and names["classifier"].metrics["accuracy"] > 0.8
    assert (names["right"] > names["wrong"]).mean() > 0.9
    assert names["strip"].shape == (1, 8, 64) and (tmp_path / "runs" / "mine" / "eval.json").is_file()
