"""Several devices: they exchange gradients, statistics and metrics, and vectors only in a step with a dead code."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import more_but, slow_but, small_autoencoder, small_classifier, small_prior
from helpers import session_of
from quantizing import built, update

from configs import code_classifier
from vqjax.ops import axes
from vqjax.runs.devices import PARALLEL
from vqjax.runs.state import num_bytes

FIELDS = {"num_codes": 4, "decay": 0.0, "dead_code_threshold": 0.5, "kmeans": False}
CODEBOOK = np.array([[0, 0], [10, 0], [0, 10], [10, 10]], np.float32)
QUANTIZERS = {
    "vq": ("vq", {}),
    "ema": ("ema", {}),
    "residual": ("residual", {}),
    "shared": ("residual", {"shared": True}),
}


def made(name):
    """A quantizer of 4 codes, on the corners of a square where it is a level's, and its variables."""
    entry, fields = QUANTIZERS[name]
    quantizer = built(entry, **fields)
    quantizer = quantizer.copy(**({"quantizer": built("ema", **FIELDS)} if entry == "residual" else FIELDS))
    return quantizer, quantizer.init(jax.random.key(0), CODEBOOK, False)


def on_corners(quantizer, variables):
    return quantizer.apply(variables, np.ones((4, 1), bool), jnp.asarray(CODEBOOK), method="_replace", mutable=True)[1]


def step(quantizer, variables, z, parallel, devices):
    """The variables of every device after a step on z (N, 2), the devices having equal shares."""

    def per_device(variables, batch):
        _, after = quantizer.apply(variables, batch["z"], True, mutable=["codebook"])
        variables = {**variables, **jax.lax.pmean(after, axes.BATCH)}
        gather = lambda x: jax.lax.all_gather(x, axes.BATCH, tiled=True)  # noqa: E731
        return update(quantizer, variables, batch["z"], jax.random.key(1), gather)

    layout = PARALLEL[parallel](jax.devices()[:devices])
    replicas = layout.compile(per_device)(layout.replicate(jax.device_get(variables)), layout.shard({"z": z}))
    for leaf in jax.tree.leaves(replicas):
        first, *others = (np.asarray(shard.data) for shard in leaf.addressable_shards)
        assert len(others) == devices - 1 and all(np.array_equal(first, other) for other in others)
    return layout.collect(replicas)


def near(corners):
    """A vector near each of the corners."""
    noise = np.random.default_rng(0).normal(scale=0.1, size=(len(corners), 2))
    return np.float32(CODEBOOK[corners] + noise)


@pytest.mark.parametrize("parallel", more_but("pmap", PARALLEL))
@pytest.mark.parametrize("name", ["vq", "ema"])
def test_a_code_that_is_dead_on_one_device_only_stays(name, parallel):
    """Code 3 is used on all but the first device, and code 0 there alone: no device restarts any."""
    quantizer, variables = made(name)
    variables = on_corners(quantizer, variables)
    corners = np.array([[0, 0, 0, 0]] + [[1, 2, 3, 3]] * 7).reshape(-1)
    after = step(quantizer, variables, near(corners), parallel, devices=8)
    counts = np.bincount(corners) / len(corners)
    np.testing.assert_allclose(after["codebook"]["frequency"], counts, rtol=1e-6)
    codebook = quantizer.apply(after, method="codebook")
    assert np.abs(codebook - CODEBOOK).max() < 1


@pytest.mark.parametrize("parallel", more_but("pmap", PARALLEL))
@pytest.mark.parametrize("name", ["vq", "ema"])
def test_a_dead_code_restarts_on_the_same_vector_on_any_number_of_devices(name, parallel):
    """Code 0 is used nowhere; where its new vector comes from does not depend on the devices."""
    quantizer, variables = made(name)
    variables, z = on_corners(quantizer, variables), near(np.array([1, 2, 3, 3] * 8))
    found = [step(quantizer, variables, z, parallel, devices) for devices in (1, 2, 8)]
    for after in found[1:]:
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), after, found[0])
    codebooks = [np.asarray(quantizer.apply(after, method="codebook")) for after in found]
    assert all(np.abs(z - codebook[0]).max(1).min() < 1e-5 for codebook in codebooks)
    np.testing.assert_allclose(codebooks[2][0], codebooks[0][0], atol=1e-6)


@pytest.mark.more
@pytest.mark.parametrize("name", ["residual", "shared"])
def test_levels_restart_alike_on_any_number_of_devices(name):
    quantizer, variables = made(name)
    z = np.asarray(jax.random.normal(jax.random.key(2), (32, 2)))
    found = [step(quantizer, variables, z, "pmap", devices) for devices in (1, 2, 8)]
    for after in found[1:]:
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), after, found[0])


def computations(program):
    """{name: its lines} of a compiled program's text; and the name of the entry."""
    parts, name, entry = {}, None, None
    for line in program.splitlines():
        if match := re.match(r"(ENTRY )?%?([\w.-]+) \(.*\) -> .* \{$", line):
            name = match[2]
            entry = name if match[1] else entry
            parts[name] = []
        elif name:
            parts[name].append(line)
    return parts, entry


def always_run(program):
    """Lines of the computations that each call of a compiled program runs: all but the branches of conditionals."""
    parts, entry = computations(program)
    reached, waiting = set(), [entry]
    while waiting:
        name = waiting.pop()
        if name not in reached:
            reached.add(name)
            called = [line for line in parts[name] if " conditional(" not in line]
            waiting += [word for word in re.findall(r"[\w.-]+", "\n".join(called)) if word in parts]
    return [line for name in reached for line in parts[name]]


GATHER = re.compile(r" all-gather(-start)?\(")


@pytest.mark.more
@pytest.mark.parametrize("parallel", slow_but("shard_map", PARALLEL))
@pytest.mark.parametrize("name", QUANTIZERS)
def test_a_step_without_dead_codes_gathers_nothing(name, parallel):
    """The compiled step of 8 devices has its all-gather in a branch, and there alone."""
    config = small_autoencoder()
    config.model.quantizer, fields = QUANTIZERS[name]
    config.model.residual.update(fields if config.model.quantizer == "residual" else {})
    session, layout = session_of(config), PARALLEL[parallel]()
    batch = layout.shard({**session.splits["train"][:16].arrays, "example": np.arange(16)})
    program = layout.compile(session.step).lower(layout.shapes(session.abstract_state), batch).compile().as_text()
    everywhere = always_run(program)
    assert GATHER.search(program) and not [line for line in everywhere if GATHER.search(line)]
    assert [
        line for line in everywhere if " all-reduce" in line
    ]  # of the gradients: the search does find what there is


def compiled_step(config, parallel):
    """The session of a run, and the text of its compiled step on 8 devices."""
    session, layout = session_of(config), PARALLEL[parallel]()
    batch = layout.shard({**session.splits["train"][:16].arrays, "example": np.arange(16, dtype=np.int32)})
    if session.prepare:
        prepare = layout.compile(session.prepare, sharded=True)
        batch = prepare((layout.replicate(np.zeros((), np.int32)), layout.replicate(dict(session.task.frozen))), batch)
    return session, layout.compile(session.step).lower(layout.shapes(session.abstract_state), batch).compile().as_text()


def small_code_classifier(stage1):
    config = code_classifier.get_config("digits")
    config.update({"stage1": str(stage1), "steps": 6, "batch_size": 16})
    config.model.conv.update({"width": 4, "layers": 2})
    return config


TASKS = {  # collectives of a step, by the jax that they were counted with (0.10), and the collections that it averages
    "autoencoder": (lambda stage1: small_autoencoder(), 1, ("codebook",)),
    "classifier": (lambda stage1: small_classifier(), 7, ("codebook", "batch_stats")),  # 2 per batch norm, and 1
    "prior": (small_prior, 1, ()),
    "code_classifier": (small_code_classifier, 6, ("batch_stats",)),
}
COLLECTIVE = re.compile(r"= (.*?) (all-reduce|all-gather|all-to-all|collective-permute|reduce-scatter)(?:-start)?\(")
ELEMENT = re.compile(r"[a-z]+(\d+)\[([\d,]*)\]")  # such as f32[16,8]


def bytes_of(shapes):
    """Bytes of a result as a program's text has it, a tuple or one array."""
    return sum(
        int(bits) // 8 * int(np.prod([*map(int, filter(None, dims.split(",")))]))
        for bits, dims in ELEMENT.findall(shapes)
    )


@pytest.mark.more
@pytest.mark.parametrize("parallel", slow_but("pmap", PARALLEL))
@pytest.mark.parametrize("name", TASKS)
def test_a_step_sends_gradients_statistics_and_metrics_and_nothing_else(name, parallel, trained_stage1):
    """Number and bytes of what the compiled step of a task sends on 8 devices, but for the branch of a dead code.

    Batch norm sends its two moments in each layer, forwards and backwards, which are small; all the rest is one sum.
    """
    make, number, averaged = TASKS[name]
    session, program = compiled_step(make(trained_stage1), parallel)
    found = [COLLECTIVE.search(line) for line in always_run(program)]
    found = [match for match in found if match]
    assert {match[2] for match in found} == {"all-reduce"} and len(found) <= number
    state = session.abstract_state
    needed = num_bytes(state.params) + sum(num_bytes(state.extra[part]) for part in averaged)
    norms = 2 * num_bytes(state.extra.get("batch_stats", ()))
    sent = sum(bytes_of(match[1]) for match in found)
    assert needed - 200 < sent <= needed + norms + 200, (needed, sent)  # 200 bytes: metrics, and means that are one
