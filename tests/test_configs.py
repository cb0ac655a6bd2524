"""Every file in configs/ builds, and takes a step on data of the right shape."""

import importlib
import json
import re
from pathlib import Path

import numpy as np
import pytest
from helpers import task_of
from ml_collections import ConfigDict

from vqjax.data.datasets import DATASETS
from vqjax.training import ablation, loop

FOLDER = Path(__file__).parent.parent / "configs"
CONFIGS = sorted(path.stem for path in FOLDER.glob("*.py"))
ABLATIONS = sorted(path.stem for path in (FOLDER / "ablation").glob("[!_]*.py"))
BASES = ("autoencoder", "prior", "transformer")  # not run as they are
VARIANTS = [name for name in CONFIGS if hasattr(importlib.import_module(f"configs.{name}"), "VARIANTS")]


def sizes_of(ablation):
    return getattr(importlib.import_module(f"configs.ablation.{ablation}"), "SIZES", ())


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The folder of all runs, so that each stage 1 is trained once."""
    return tmp_path_factory.mktemp("runs")


def one_step(config, name, folder):
    """Trains a config for one step, and before it its stage 1 if it has one; returns the workdir."""
    if (folder / name).exists():
        return folder / name
    config.update({"steps": 1, "batch_size": 8})
    if "resized_crop" in config.data:  # only of sets that are streamed
        config.data.resized_crop = 0.0
    if config.get("stage1"):
        first = Path(config.stage1).name
        stage1 = importlib.import_module(f"configs.{first if first in CONFIGS else 'cifar10_ema'}").get_config()
        stage1.data.name = first if first in DATASETS else stage1.data.name
        config.stage1 = str(one_step(stage1, first, folder))
    if "quantizer" in config.model and config.model.quantizer != "none":
        choice = config.model.get(config.model.quantizer)
        if "num_codes" in choice:
            choice.num_codes = min(choice.num_codes, 64)  # k-means of 512 codes takes seconds
    task_of(config)
    shorter = {"openai": {"blocks": 1}, "vqgan": {"width": 32, "blocks": 1}}  # to compile
    shorter |= {"pixelcnn": {"layers": 2}, "resnet18": {"width": 2}}
    config.model.update({name: fields for name, fields in shorter.items() if name in config.model})
    if config.model.get("backbone") == "resnet18" and config.data.name != "cifar10":  # one of them is enough
        config.model.backbone = "small"
    assert loop.train(config, folder / name) == 0
    return folder / name


def check_figures(workdir):
    train, evaluation = map(json.loads, (workdir / "metrics.jsonl").read_text().splitlines())
    assert train["split"] == "train" and evaluation["split"] in ("validation", "test")
    assert all(np.isfinite(value) for line in (train, evaluation) for name, value in line.items() if name != "split")


# One of each kind takes a step in CI: the others differ in data, sizes or steps only.
QUICK = {"mnist_fsq", "code_classifier-digits"}


def quick_first(*names):
    """A parameter, behind the mark `slow` unless it is among the quick ones."""
    return pytest.param(*names, marks=() if "-".join(names) in QUICK else pytest.mark.slow)


def test_every_config_can_be_built(large_mock_data):
    """Its fields are right, for its data; of those that stand on no other run."""
    for name in CONFIGS:
        config = importlib.import_module(f"configs.{name}").get_config()
        if not config.get("stage1") and name not in BASES and config.data.name != "clips":
            if "resized_crop" in config.data:  # only of sets that are streamed
                config.data.resized_crop = 0.0
            task_of(config)


@pytest.mark.more
@pytest.mark.parametrize("name", [quick_first(name) for name in CONFIGS if name not in ("prior", *VARIANTS)])
def test_every_config_takes_a_step(name, mock_data, folder):
    config = importlib.import_module(f"configs.{name}").get_config()
    if config.data.name == "clips":
        config.data.path = str(folder / "film.npy")
        np.save(config.data.path, np.random.default_rng(0).integers(0, 256, (120, 12, 8, 3), np.uint8))
    check_figures(one_step(config, name, folder))


def variants_of(name):
    return importlib.import_module(f"configs.{name}").VARIANTS


def test_every_set_has_a_config():
    """One of its own, or several; sets with classes are variants of the classifiers.

    Arrays take those of a folder, prepared images those of the set that they are of.
    """
    bases = [importlib.import_module(f"configs.{name}") for name in CONFIGS if name not in BASES]
    named = {base.get_config().data.name for base in bases}
    assert named >= DATASETS.keys() - {"arrays", "prepared"}
    assert all(
        variants_of(name).keys() == DATASETS.keys() - {"arrays", "prepared", "photos", "clips"} for name in VARIANTS
    )


@pytest.mark.more
@pytest.mark.parametrize(
    "name, dataset", [quick_first(name, dataset) for name in VARIANTS for dataset in variants_of(name)]
)
def test_every_variant_takes_a_step(name, dataset, mock_data, folder):
    """A variant is named by its data set."""
    config = importlib.import_module(f"configs.{name}").get_config(dataset)
    workdir = one_step(config, f"{name}-{dataset}", folder)
    check_figures(workdir)
    assert json.loads((workdir / "run.json").read_text())["dataset"] == dataset


@pytest.mark.parametrize("name", VARIANTS)
def test_an_unknown_variant_is_refused(name):
    with pytest.raises(ValueError, match="expected a data set; known: digits, mnist"):
        importlib.import_module(f"configs.{name}").get_config("digit")


@pytest.mark.parametrize("name, size", [(name, size) for name in ABLATIONS for size in (None, *sizes_of(name))])
def test_every_ablation_can_be_built(name, size, large_mock_data, tmp_path):
    """A stage 1 from elsewhere is taken for a row before the others. No row is another's double."""
    config = importlib.import_module(f"configs.ablation.{name}").get_config(*filter(None, [size]))
    assert len({row.to_json(sort_keys=True) for row in config.values()}) == len(config)
    before = {}
    for row in config.values():
        if row.get("stage1", "").startswith("runs/"):
            row.stage1 = Path(row.stage1).name
            before[row.stage1] = importlib.import_module(f"configs.{row.stage1}").get_config()
    rows = ConfigDict({**before, **config}, sort_keys=False)
    assert len(ablation.check_rows(ablation.read_rows(rows), tmp_path)) == len(before) + len(config)


def test_all_quantizers_are_the_rows_of_each_size_one_after_another():
    get_config = importlib.import_module("configs.ablation.quantizers").get_config
    rows = [(f"{name}_{size}", row) for size in ("4096", "512", "16384") for name, row in get_config(size).items()]
    assert [(name, row.to_dict()) for name, row in get_config("all").items()] == [
        (name, row.to_dict()) for name, row in rows
    ]


def test_an_unknown_size_is_refused():
    with pytest.raises(ValueError, match="configs/ablation/cifar10.py:wider: expected narrow or wide"):
        importlib.import_module("configs.ablation.cifar10").get_config("wider")


def test_every_docstring_has_the_command_the_hardware_the_time_and_the_result():
    files = [(f"configs.{name}", f"python train.py --config configs/{name}.py") for name in CONFIGS]
    files += [
        (f"configs.ablation.{name}", f"python -m vqjax ablate --config configs/ablation/{name}.py")
        for name in ABLATIONS
    ]
    for module, command in files:
        docstring = importlib.import_module(module).__doc__
        if module.removeprefix("configs.") in BASES:
            continue
        assert command in docstring, module
        figures = any(figure in docstring for figure in ("PSNR", "nats/code", "accuracy"))
        time = re.search(r"\b(s|min|minutes|h)\b", docstring)
        assert "not run here" in docstring or ("cores" in docstring and time and figures), module
