"""Trained models by their workdirs: which kind, which checkpoint, in another process, and what is refused."""

import inspect
import multiprocessing
import os
import pickle
import shutil
import typing

import numpy as np
import pytest
from helpers import rewrite
from tiny import small_code_classifier, small_prior

import vqjax
from vqjax.inference.models import MODELS
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


@pytest.mark.parametrize("name", KINDS)
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


@pytest.mark.parametrize("name", KINDS)
def test_a_model_is_pickled_as_its_place(runs, name):
    """It was TypeError: cannot pickle 'Device' object."""
    model = vqjax.load(runs / name)
    text = pickle.dumps(model)
    assert len(text) < 1_000
    copy = pickle.loads(text)
    assert type(copy) is type(model) and copy.path == model.path and copy.step == model.step
    np.testing.assert_array_equal(results(name, copy), results(name, model))


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
