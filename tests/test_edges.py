"""Every number of a config at both ends of what its annotation allows: a tiny run trains, its steps are skipped by the
guard, or it is refused before anything is compiled.

The steps are not compiled either: operation by operation, those of all the runs share their programs.
"""

import dataclasses
import itertools
import math
import random
from typing import Annotated, get_args, get_origin, get_type_hints

import jax
import numpy as np
import pytest
from conftest import small_autoencoder, small_classifier, small_prior
from helpers import on_one_device, part_of
from ml_collections import ConfigDict

from configs import autoencoder, classifier, code_classifier, prior
from vqjax.config.annotations import Multiple, Range
from vqjax.config.schema import Data, Settings
from vqjax.networks.backbones import BACKBONES, HEADS
from vqjax.networks.encoders import ENCODERS
from vqjax.networks.likelihoods import LIKELIHOODS
from vqjax.networks.priors import PRIORS
from vqjax.ops import axes
from vqjax.quantizers import QUANTIZERS
from vqjax.runs import finite
from vqjax.runs.state import check_memory, initial_state
from vqjax.system.errors import InputError
from vqjax.tasks.autoencoder import AutoencoderFields
from vqjax.tasks.classifier import ClassifierFields
from vqjax.tasks.code_classifier import CodeClassifierFields
from vqjax.tasks.codecs.hierarchical import Hierarchical, LevelFields
from vqjax.tasks.prior import PriorFields
from vqjax.training import optimizers
from vqjax.training.setup import plan, setup

CAP = 2**22  # bytes of a state at a field's upper edge; with all that a step needs far below 1 GiB
DEEPEST = 8  # layers: each is traced on its own

# task -> {(the choice, where its entries stand): its table}, {where the fields stand that are no entry's own: those},
# and maybe {(the choice, the entry): the same of those within the entry}
SECTIONS = {
    "autoencoder": (
        {
            ("model.encoder", "model."): ENCODERS,
            ("model.quantizer", "model."): QUANTIZERS,
            ("model.likelihood", "model."): LIKELIHOODS,
            ("optimizer.name", "optimizer."): optimizers.OPTIMIZERS,
        },
        {"": Settings, "data.": Data, "optimizer.": optimizers.OptimizerConfig, "model.": AutoencoderFields},
        {
            ("model.codec", "hierarchical"): {
                f"model.hierarchical.{level}.": LevelFields for level in Hierarchical.levels
            }
        },
    ),
    "prior": ({("model.prior", "model."): PRIORS}, {"model.": PriorFields}),
    "classifier": (
        {("model.backbone", "model."): BACKBONES, ("model.head", "model."): HEADS},
        {"model.": ClassifierFields},
    ),
    "code_classifier": ({("model.head", "model."): HEADS}, {"model.": CodeClassifierFields}),
}


def small_code_classifier(stage1):
    config = code_classifier.get_config("digits")
    config.stage1 = str(stage1)
    config.model.conv.update({"width": 4, "layers": 2})
    return config


MAKE = {
    "autoencoder": lambda stage1: small_autoencoder(),
    "prior": small_prior,
    "classifier": lambda stage1: small_classifier(),
    "code_classifier": small_code_classifier,
}


def ends(hint, name=""):
    """{what comes after the field's name: its values at the ends} of an annotation; nothing if it is no number."""
    if dataclasses.is_dataclass(hint):
        fields = get_type_hints(hint, include_extras=True).items()
        return {f".{key}{rest}": found for key, each in fields for rest, found in ends(each).items()}
    if get_origin(hint) is tuple:
        return {rest: [(value,) for value in found] for rest, found in ends(get_args(hint)[0]).items()}
    kind, *limits = get_args(hint) if get_origin(hint) is Annotated else (hint,)
    if kind not in (int, float):
        return {}
    ranges = [limit for limit in limits if isinstance(limit, Range)]
    assert ranges and all(math.isfinite(end) for each in ranges for end in (each.min, each.max)), f"{name}: no bounds"
    assert not any(each.open_min or each.open_max for each in ranges), f"{name}: an end that it cannot have"
    low, high = max(each.min for each in ranges), min(each.max for each in ranges)
    assert all(end in limit for limit in limits if isinstance(limit, Multiple) for end in (low, high))
    return {"": [kind(low), kind(high)]}


def edges():
    """(task, {the choice: the entry}, a field, its value at an end) of every number that a config has."""
    for task, (tables, outer, *within) in SECTIONS.items():
        config = MAKE[task]("")
        entries = [({}, place, kind) for place, kind in outer.items()]
        for (choice, entry), places in (row for each in within for row in each.items()):
            entries += [({choice: entry}, place, kind) for place, kind in places.items()]
        for (choice, place), table in tables.items():
            entries += [({choice: entry}, f"{place}{entry}.", kind) for entry, kind in table.items()]
        for chosen, place, kind in entries:
            hints = get_type_hints(kind, include_extras=True)
            for field in part_of(config, place[:-1]):
                if field in hints:
                    found = ends(hints[field], f"{place}{field}")
                    yield from ((task, chosen, f"{place}{field}{rest}", end) for rest in found for end in found[rest])


ALL = list(edges())
BASES = (autoencoder, prior, classifier, code_classifier)


def name_of(edge):
    task, chosen, key, value = edge
    return f"{task}-{key}={value}"


@pytest.fixture
def one_device(monkeypatch):
    on_one_device(monkeypatch)


def set_field(config, key, value):
    config.update_from_flattened_dict({key: value})


def shapes_of(planned):
    """Shapes of the state of a run."""
    optimizer, _ = optimizers.create_optimizer(planned.settings.optimizer, planned.settings.steps)
    return jax.eval_shape(lambda: initial_state(planned.task.init(jax.random.key(0)), optimizer))


def size_of(state):
    return sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(state))


def fitting(config, key, value):
    """The run with the field at its end, or if that does not fit as near to it as does; and the state's shapes."""
    *_, field = key.split(".")
    if field in ("blocks", "layers"):
        value = min(value, DEEPEST)
    while True:
        set_field(config, key, value)
        planned = plan(Settings.of(config))
        state = shapes_of(planned)
        if size_of(state) <= CAP or not isinstance(value, int):
            return planned, state
        value = max(1, value // 2 // 4 * 4)


def steps_of(planned, count, compiled):
    """The state and the evaluated loss after so many steps on batches of two; `compiled` is done to what takes them."""
    session = setup(planned)
    task, seed, keys = session.task, session.settings.seed, session.keys
    variables = task.initialize(compiled(task.init)(keys[0]), itertools.islice(session.batches(), 8), seed)
    state = initial_state(variables, session.optimizer)
    step = compiled(jax.vmap(session.step, in_axes=(None, 0), axis_name=axes.BATCH))
    first = jax.device_get(state.params)
    for batch in itertools.islice(session.batches(), count):
        if session.prepare:
            batch = session.prepare((state.step, task.frozen), jax.tree.map(jax.numpy.asarray, batch))
        states, _ = step(state, {name: x[None] for name, x in batch.items()})
        state = jax.tree.map(lambda x: x[0], states)
    evaluate = compiled(lambda variables, batch: task.loss(task.apply_eval(variables, batch), batch)[0])
    return first, state, evaluate(state.variables, batch)


def check_edge(edge, stage1, compiled=lambda function: function):
    """Trains finite and moves, or is skipped by the guard, or is refused in a few lines that name the field."""
    task_name, chosen, key, value = edge
    config = MAKE[task_name](stage1)
    config.update({"batch_size": 2, "steps": 100})
    config.optimizer.update(warmup=0, warmup_share=0.0)
    for name, entry in chosen.items():
        set_field(config, name, entry)
    if task_name == "autoencoder":
        config.model.decoder = config.model.encoder
    if task_name == "classifier":
        config.model.quantize = "grid"  # any head
    if "kl_weight" in key or "temperature" in key:  # both ends of an exponential are above 0
        ramp = config.model[key.split(".")[1]][key.split(".")[2]]
        ramp.schedule = "linear"
    try:
        planned, state = fitting(config, key, value)
        check_memory(state)
    except InputError as error:
        text = str(error)
        assert key in text or key.rpartition(".")[0] in text, text
        assert len(text.splitlines()) <= 5 and len(text) < 1_000
        return "refused"
    first, state, loss = steps_of(planned, 2, compiled)
    if int(state.skipped):
        assert finite.all_finite(jax.tree.map(np.asarray, state))  # what was not is not in it
        return "skipped"
    assert finite.all_finite((state, loss)), "a state or a loss that is not finite"
    moved = [not np.array_equal(a, b) for a, b in zip(jax.tree.leaves(first), jax.tree.leaves(state.params))]
    assert any(moved), "nothing is learned"
    return "trained"


# A few in CI, the same ones each time; of such as do not change a shape, since each shape has programs of its own.
SAMPLE = random.Random(0).sample([edge for edge in ALL if edge[0] == "autoencoder" and isinstance(edge[3], float)], 3)


@pytest.mark.more
@pytest.mark.parametrize("edge", SAMPLE, ids=name_of)
def test_a_sample_of_the_edges(edge, trained_stage1, one_device):
    check_edge(edge, trained_stage1, jax.jit)


@pytest.mark.slow
@pytest.mark.parametrize("edge", ALL, ids=name_of)
def test_every_edge(edge, trained_stage1, one_device):
    check_edge(edge, trained_stage1)


@pytest.mark.parametrize("base", BASES)
def test_every_number_of_a_config_is_among_the_edges(base):
    """So that no field is without bounds."""

    def numbers(config, place=""):
        for name, value in config.items():
            if isinstance(value, ConfigDict):
                yield from numbers(value, f"{place}{name}.")
            elif isinstance(value, int | float) and not isinstance(value, bool):
                yield f"{place}{name}"

    assert {*numbers(base.get_config())} <= {key for _, _, key, _ in ALL}
