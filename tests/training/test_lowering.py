"""The programs of every task lower for CUDA and TPU, on a machine that has neither."""

import re

import jax
import numpy as np
import pytest
from conftest import more_but, slow_but, small_autoencoder, small_classifier, small_prior
from helpers import session_of
from jax.sharding import AbstractMesh, PartitionSpec

from configs import code_classifier
from vqjax.networks.priors import PRIORS
from vqjax.ops import axes
from vqjax.ops.platforms import trace_for_accelerator
from vqjax.quantizers import QUANTIZERS
from vqjax.tasks import TASKS
from vqjax.training.setup import batch_shapes
from vqjax.training.stepping import several_steps
from vqjax.training.steps import eval_step

DEVICES = 8
PLATFORMS = ("cuda", "tpu")
# Functions of XLA, and the marks of shardings, that accelerators have; another one would be of this machine.
TARGETS = {"Sharding", "SPMDFullToShardShape", "SPMDShardToFullShape", "cu_threefry2x32_ffi", "ApproxTopK"}


def of_code_classifier(stage1):
    config = code_classifier.get_config("digits")
    config.update({"stage1": str(stage1), "steps": 6, "batch_size": 16})
    config.model.conv.update({"width": 4, "layers": 2})
    return config


CONFIGS = {
    "autoencoder": lambda stage1: small_autoencoder(),
    "classifier": lambda stage1: small_classifier(),
    "prior": small_prior,
    "code_classifier": of_code_classifier,
}


def lowered(platform, function, in_specs, *shapes):
    """Text of a function of one device, lowered for a platform with 8 devices."""
    mesh = AbstractMesh((DEVICES,), (axes.BATCH,))
    program = jax.shard_map(
        trace_for_accelerator(function), mesh=mesh, in_specs=in_specs, out_specs=PartitionSpec(), check_vma=False
    )
    return jax.jit(program).trace(*shapes).lower(lowering_platforms=(platform,)).as_text()


def check(text):
    """No function is called that only this machine has, and products are computed as what they are."""
    targets = {*re.findall(r"custom_call @([\w.]+)", text)}
    assert targets <= TARGETS, targets
    assert "stablehlo.dot_general" in text or "stablehlo.convolution" in text
    assert "stablehlo.all_reduce" in text


def programs(config):
    """{name: (function of a device, specs, shapes)} of a run: the step, several in a call, and the evaluation."""
    session = session_of(config, "shard_map", 1)
    state, split, task = session.abstract_state, session.splits["train"], session.task
    batch, whole, shared = batch_shapes(split, config.batch_size), PartitionSpec(), PartitionSpec(axes.BATCH)
    frozen = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), session.frozen)
    prepare = session.prepare or (lambda fixed, batch: batch)
    rows = {
        "rows": jax.ShapeDtypeStruct((config.batch_size, 32), np.int32),
        "example": jax.ShapeDtypeStruct((config.batch_size,), np.int32),
    }
    data = {name: jax.ShapeDtypeStruct(array.shape, array.dtype) for name, array in split.arrays.items()}
    real = {"real": jax.ShapeDtypeStruct((config.batch_size,), np.bool_)}

    def step(state, frozen, batch):
        return session.step(state, prepare((state.step, frozen), batch))

    def evaluate(variables, frozen, batch):
        ready = task.prepare(batch, None, frozen) if "evaluation" in task.prepares else batch
        return eval_step(task)(variables, {**ready, "real": batch["real"]})

    several = several_steps(session.step, session.prepare)
    return {
        "step": (step, (whole, whole, shared), (state, frozen, batch)),
        "several": (several, (whole, shared, whole), (state, rows, {"data": data, "frozen": frozen})),
        "evaluate": (evaluate, (whole, whole, shared), (state.variables, frozen, {**batch, **real})),
    }


@pytest.mark.parametrize("dtype", slow_but("float32", ["float32", "bfloat16"]))
@pytest.mark.parametrize("name", more_but("autoencoder", TASKS))
def test_every_task_lowers(name, dtype, trained_stage1):
    """Of a table: a task that is added without a config here fails."""
    config = CONFIGS[name](trained_stage1)
    config.model.dtype = dtype
    if name == "prior":
        config.data.flip = True  # then stage 1 encodes in `prepare`
    for function, specs, shapes in programs(config).values():
        for platform in PLATFORMS:
            text = lowered(platform, function, specs, *shapes)
            check(text)
            assert (dtype == "bfloat16") == ("xbf16>" in text)


@pytest.mark.more
@pytest.mark.parametrize("quantizer", QUANTIZERS)
def test_every_quantizer_lowers(quantizer):
    config = small_autoencoder()
    config.model.quantizer = quantizer
    function, specs, shapes = programs(config)["step"]
    for platform in PLATFORMS:
        check(lowered(platform, function, specs, *shapes))


@pytest.mark.more
@pytest.mark.parametrize("prior", PRIORS)
def test_every_prior_lowers_and_samples(prior, trained_stage1):
    config = small_prior(trained_stage1)
    config.model.prior = prior
    function, specs, shapes = programs(config)["step"]
    session = session_of(config, "shard_map", 1)
    batch = {name: jax.ShapeDtypeStruct((16,), np.int32) for name in ("label", "example")}
    draw = trace_for_accelerator(lambda variables, batch: session.task.sample(variables, batch, 0))
    for platform in PLATFORMS:
        check(lowered(platform, function, specs, *shapes))
        text = (
            jax.jit(draw).trace(session.abstract_state.variables, batch).lower(lowering_platforms=(platform,)).as_text()
        )
        assert {*re.findall(r"custom_call @([\w.]+)", text)} <= TARGETS and "stablehlo.while" in text
