"""Trained models by their workdirs: which kind, which checkpoint, in another process, and what is refused."""

import importlib
import inspect
import multiprocessing
import os
import pickle
import shutil
import tomllib
import typing
from pathlib import Path

import numpy as np
import pytest
from conftest import REPOSITORY, more_but
from helpers import command, rewrite
from tiny import small_code_classifier, small_prior

import vqjax
from vqjax.inference.base import read_metrics
from vqjax.inference.drawing import DrawOptions
from vqjax.inference.features.evaluation import evaluate_features
from vqjax.inference.models import MODELS
from vqjax.runs.checkpoints.record import Damaged
from vqjax.system import extras
from vqjax.system.arguments import argument_names
from vqjax.system.errors import InputError
from vqjax.tasks import TASKS
from vqjax.training import loop

pytest_plugins = "inference_fixtures"

KINDS = {"tokenizer": vqjax.Tokenizer, "prior": vqjax.Prior, "classifier": vqjax.Classifier, "codes": vqjax.Classifier}


def test_every_task_has_a_model():
    assert set(MODELS) == set(TASKS) and {*vqjax.__all__} <= {*dir(vqjax)}
    with pytest.raises(AttributeError, match="has no attribute 'laod'"):
        _ = vqjax.laod


def test_load_is_typed():
    """It was Any. Each kind's own `load` gives that kind."""
    kinds = typing.get_args(inspect.signature(vqjax.load).return_annotation)
    assert kinds == (vqjax.Tokenizer, vqjax.Prior, vqjax.Classifier)
    for kind in kinds:
        assert inspect.signature(kind.load).return_annotation == typing.Self


@pytest.mark.parametrize("name", more_but("tokenizer", KINDS))
def test_the_task_of_a_run_tells_its_kind(runs, name):
    model, kind = vqjax.load(runs / name), KINDS[name]
    assert type(model) is kind and type(kind.load(str(runs / name))) is kind
    assert model.path == runs / name and model.config.task in kind.tasks and model.facts["dataset"] == "digits"
    assert model.class_names == tuple("0123456789") and model.metrics["split"] == "test"
    for other in {*KINDS.values()} - {kind}:
        with pytest.raises(
            ValueError, match=f"^workdir=.*{name} holds a run of task '{model.config.task}', expected '"
        ):
            other.load(runs / name)


def test_another_task_has_no_model(runs, tmp_path):
    rewrite(shutil.copytree(runs / "tokenizer", tmp_path / "other") / "config.json", task="painting")
    with pytest.raises(ValueError, match="config.task='painting' is unknown"):
        vqjax.load(tmp_path / "other")


def test_what_is_no_workdir_is_told_what_was_expected(runs, tmp_path):
    for path, found in ((tmp_path / "nowhere", "no such directory"), (tmp_path, "no config.json in it")):
        for load in (vqjax.load, vqjax.Tokenizer.load):
            message = f"^workdir={path}: expected the workdir of a trained model, found {found}$"
            with pytest.raises(FileNotFoundError, match=message):
                load(path)
    with pytest.raises(ValueError, match="^step=3: no such checkpoint .*\nKept: 4, 6"):
        vqjax.load(runs / "tokenizer", step=3)
    with pytest.raises(ValueError, match="^stage1=.*tokenizer: .* which has none"):
        vqjax.load(runs / "tokenizer", stage1=runs / "tokenizer")
    with pytest.raises(ValueError, match="^stage1=.* holds a run of task 'prior', expected 'autoencoder'"):
        vqjax.load(runs / "prior", stage1=runs / "prior")


def results(name, model):
    """What a model makes of fixed input."""
    images = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 1), np.uint8)
    return (
        model.sample(3).codes
        if name == "prior"
        else model.encode(images)
        if name == "tokenizer"
        else model.predict(images)
    )


@pytest.mark.parametrize("name", more_but("tokenizer", KINDS))
def test_a_model_is_pickled_as_its_place(runs, name):
    """It was TypeError: cannot pickle 'Device' object."""
    model = vqjax.load(runs / name)
    text = pickle.dumps(model)
    assert len(text) < 1_000
    copy = pickle.loads(text)
    assert type(copy) is type(model) and copy.path == model.path and copy.step == model.step
    np.testing.assert_array_equal(results(name, copy), results(name, model))


@pytest.mark.more
def test_a_pickle_keeps_the_step_and_the_place_of_stage_1(runs, tmp_path):
    early = pickle.loads(pickle.dumps(vqjax.Tokenizer.load(runs / "tokenizer", step=4)))
    assert early.step == 4
    shutil.copytree(runs / "tokenizer", tmp_path / "first")
    for name, config in (
        ("prior", small_prior(tmp_path / "first")),
        ("codes", small_code_classifier(tmp_path / "first")),
    ):
        assert loop.train(config, tmp_path / name) == 0
    shutil.move(tmp_path / "first", tmp_path / "moved")
    for name in ("prior", "codes"):
        with pytest.raises(ValueError, match="stage 1 is no longer in .*first: name the place with stage1$"):
            vqjax.load(tmp_path / name)
        model = vqjax.load(tmp_path / name, stage1=tmp_path / "moved")
        np.testing.assert_array_equal(results(name, pickle.loads(pickle.dumps(model))), results(name, model))
    prior = vqjax.Prior.load(tmp_path / "prior", stage1=tmp_path / "moved")
    assert pickle.loads(pickle.dumps(prior.tokenizer)).path == tmp_path / "moved"


@pytest.mark.slow
def test_a_process_that_is_spawned_is_sent_the_model(runs):
    model = vqjax.load(runs / "tokenizer")
    images = np.zeros((2, 8, 8, 1), np.uint8)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        np.testing.assert_array_equal(pool.apply(model.encode, (images,)), model.encode(images))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks")
@pytest.mark.filterwarnings("ignore:.*fork.*")
def test_a_forked_process_is_told_instead_of_hanging(runs):
    """As in PyTorch's DataLoader on Linux. The fork ends before it calls JAX."""
    model = vqjax.load(runs / "tokenizer")
    read, write = os.pipe()
    if not (child := os.fork()):
        try:
            model.encode(np.zeros((1, 8, 8, 1), np.uint8))
        except RuntimeError as error:
            os.write(write, str(error).encode())
        finally:
            os._exit(0)
    os.close(write)
    assert os.waitpid(child, 0)[1] == 0
    assert b"this process was forked" in os.read(read, 1_000)


def test_configs_by_name():
    assert vqjax.get_config("classifier:mnist").data.name == "mnist"
    with pytest.raises(ValueError, match='there is no file digit. Did you mean "digits"'):
        vqjax.get_config("digit")


# Without extras

BLOCKED = """
import sys
from vqjax.system import extras

class Block:
    def find_spec(self, name, *_):
        if name.partition(".")[0] in extras._EXTRAS:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Block())
"""
USE = """
import jax, numpy as np, vqjax
from vqjax.quantizers import EMA, FSQ

tokenizer, prior = vqjax.Tokenizer.load(sys.argv[1]), vqjax.Prior.load(sys.argv[2])
images = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 1), np.uint8)
codes = tokenizer.encode(images)
assert tokenizer.decode(codes).shape == (3, 8, 8, 1) and prior.sample(2).images.shape == (2, 8, 8, 1)
assert np.isfinite(prior.log_prob(codes, [0, 1, 2])).all()
for quantizer in (EMA(4, 8), FSQ(2, (3, 3))):
    z = np.ones((5, quantizer.code_dim), np.float32)
    assert quantizer.init_with_output(jax.random.key(0), z, False)[0].z_q.shape == z.shape
try:
    tokenizer.export(sys.argv[3])
except ImportError as error:
    print(error)
"""


def requirements(lines):
    return {line.partition("#")[0].strip() for line in lines} - {""}


def test_requirements_are_those_of_the_package_and_three_extras():
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    optional = project["optional-dependencies"]
    parts = [project["dependencies"], *(optional[name] for name in ("train", "data", "export"))]
    listed = requirements((REPOSITORY / "requirements.txt").read_text().splitlines())
    assert listed == set().union(*map(requirements, parts)) and len(listed) == sum(map(len, parts))
    assert {*extras._EXTRAS.values()} == {"train", "data", "export"} <= {*optional}


@pytest.mark.more
def test_models_need_no_extra(runs, tmp_path):
    result = command("-c", BLOCKED + USE, runs / "tokenizer", runs / "prior", tmp_path / "out")
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == "safetensors is not installed: pip install 'vqjax[export]'"


def test_a_command_names_the_extra_that_it_needs():
    result = command("-c", f"{BLOCKED}\nfrom vqjax.__main__ import entry\nentry()", "train", "--config", "digits")
    assert result.returncode == 2
    assert result.stderr == "error: sklearn is not installed: pip install 'vqjax[train]'\n"


def test_an_error_leads_to_the_extra_of_the_first_package_that_is_missing():
    missing = ModuleNotFoundError("No module named 'pyarrow.parquet'", name="pyarrow.parquet")
    later = ImportError("this needs pyarrow")
    later.__cause__ = missing
    for error in (missing, later):
        assert extras.install_hint(error) == "pyarrow is not installed: pip install 'vqjax[export]'"
    assert extras.install_hint(ModuleNotFoundError("No module named 'x'", name="x")) is None


@pytest.mark.parametrize("command", ["sample", "decode", "evaluate", "explore", "predict", "reconstruct"])
def test_errors_from_python_name_its_arguments_without_dashes(command):
    """Those that are flags, too."""
    members = [member for kind in (vqjax.Tokenizer, vqjax.Prior, vqjax.Classifier) for member in vars(kind).values()]
    functions = [*filter(inspect.isfunction, members), vqjax.load, evaluate_features, vqjax.Prior.sample]
    names = {name for function in functions for name in inspect.signature(function).parameters}
    names |= {*DrawOptions.__annotations__}
    flags = importlib.import_module(f"vqjax.commands.{command}").parser()._option_string_actions
    for name in sorted(names & {flag.removeprefix("--") for flag in flags}):
        with pytest.raises(InputError, match=f"^{name}=1: expected 2"), argument_names():
            raise InputError(f"--{name}=1: expected 2")


def test_errors_keep_paths_and_kinds():
    """A path that looks like a flag is none, and an error keeps its kind."""
    shown = r"^steps=3: runs/digits--seed-1 and --config.steps \(see step\)"
    with pytest.raises(InputError, match=shown), argument_names():
        raise InputError("--steps=3: runs/digits--seed-1 and --config.steps (see --step)")
    for kind in (InputError, *InputError.__subclasses__()):
        with pytest.raises(kind, match="^step=3: no$"), argument_names():
            raise kind("--step=3: no")
    with pytest.raises(Damaged, match="^step cannot be read: gone$"), argument_names():
        raise Damaged.by(ValueError("gone\nand more"), Path("--step"))


def test_figures_that_cannot_be_read_are_named(tmp_path):
    assert read_metrics(tmp_path) == {}
    (tmp_path / "eval.json").write_text('{"split": ')
    with pytest.raises(InputError, match="eval.json cannot be read: .*\nvqjax evaluate .* writes it again"):
        read_metrics(tmp_path)
