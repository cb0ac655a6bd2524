"""Properties of every entry of every table of choices: defaults, and the check of what is built."""

import ast
import functools
import inspect
from typing import get_type_hints

import pytest
from conftest import REPOSITORY, small_autoencoder, small_classifier
from helpers import part_of

from configs import autoencoder, classifier, prior
from vqjax.__main__ import parse
from vqjax.config.check import check_value
from vqjax.config.plain import to_plain
from vqjax.config.schema import Data, Settings
from vqjax.networks.backbones import BACKBONES, HEADS
from vqjax.networks.encoders import DECODERS, ENCODERS
from vqjax.networks.likelihoods import LIKELIHOODS
from vqjax.networks.priors import PRIORS
from vqjax.quantizers import QUANTIZERS
from vqjax.system.errors import RENAMED, InputError
from vqjax.tasks.codecs import CODECS
from vqjax.training.optimizers import OPTIMIZERS, OptimizerConfig
from vqjax.training.setup import plan

# The base that has a table's entries, the part that chooses one, and the field by which it does.
TABLES = [
    (autoencoder, "model", "quantizer", QUANTIZERS),
    (autoencoder, "model", "encoder", ENCODERS),
    (autoencoder, "model", "decoder", DECODERS),
    (autoencoder, "model", "likelihood", LIKELIHOODS),
    (autoencoder, "model", "codec", CODECS),
    (autoencoder, "optimizer", "name", OPTIMIZERS),
    (prior, "model", "prior", PRIORS),
    (classifier, "model", "backbone", BACKBONES),
    (classifier, "model", "head", HEADS),
]
ENTRIES = [
    *((base, f"{part}.{name}", entry) for base, part, _, table in TABLES for name, entry in table.items()),
    (autoencoder, "data", Data),
    (autoencoder, "optimizer", OptimizerConfig),
    (prior, "", Settings),
]
GIVEN = {"dtype", "head", "parent", "name"}  # arguments with a default that no config has: the program gives them


@pytest.mark.parametrize("base, key, entry", ENTRIES, ids=[f"{base.__name__}-{key}" for base, key, _ in ENTRIES])
def test_a_default_is_the_value_in_the_base(base, key, entry):
    part = to_plain(part_of(base.get_config(), key))
    hints = get_type_hints(entry, include_extras=True)
    for name, parameter in inspect.signature(entry).parameters.items():
        if parameter.default is not inspect.Parameter.empty and name not in GIVEN:
            assert check_value(part[name], hints[name], name) == parameter.default, name


def test_no_default_stands_beside_a_config():
    """No second argument of `get`."""
    for path in (REPOSITORY / "vqjax").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "get":
                words = {*ast.unparse(node.func.value).replace(".", " ").replace("[", " ").split()}
                assert len(node.args) < 2 or not words & {"config", "settings", "row", "plain", "values"}, (
                    f"{path}:{node.lineno}"
                )


def faulty(entry):
    """An entry whose every instance is refused by its `check`."""

    def check(self, key):
        raise InputError(f"{key}: does not fit")

    if inspect.isclass(entry):
        return type("Faulty", (entry,), {"check": check})

    @functools.wraps(entry)
    def make(*arguments, **fields):
        made = entry(*arguments, **fields)
        return type("Faulty", (type(made),), {"check": check})(*made)

    return make


# The base of priors needs a trained stage 1.
FIRST = [pytest.param(*row, marks=pytest.mark.more) if row[0] is prior else row for row in TABLES]


@pytest.mark.parametrize("base, part, choice, table", FIRST, ids=[choice for _, _, choice, _ in TABLES])
def test_what_is_built_of_any_table_is_checked(request, monkeypatch, base, part, choice, table):
    if base is prior:
        config = request.getfixturevalue("prior_config")
    else:
        config = {autoencoder: small_autoencoder, classifier: small_classifier}[base]()
    plan(Settings.of(config))
    fields = config[part]
    monkeypatch.setitem(table, "faulty", faulty(table[fields[choice]]))
    with fields.unlocked():
        fields.faulty = fields[fields[choice]]
    fields[choice] = "faulty"
    with pytest.raises(InputError, match=f"config.{part}.faulty: does not fit"):
        plan(Settings.of(config))


# Where each renamed field stands now.
PLACES = {
    "init_from": (autoencoder, ""),
    "ema_decay": (prior, "model"),
    "dead_code_threshold": (autoencoder, "model.ema"),
    "final_learning_rate": (autoencoder, "optimizer"),
    "clip_norm": (autoencoder, "optimizer"),
    "oversize": (autoencoder, "data"),
    "head_width": (prior, "model.pixelcnn"),
}


@pytest.mark.parametrize("old", [old for old, new in RENAMED.items() if new in PLACES])
def test_an_old_field_is_answered_with_the_new_name(request, old):
    """By flags, and in a config."""
    new = RENAMED[old]
    base, key = PLACES[new]
    name = base.__name__.removeprefix("configs.")
    with pytest.raises(InputError, match=f'there is no such field. It is now called "{new}"'):
        parse(["train", "--config", name, f"--config.{key}{'.' * bool(key)}{old}=1"])
    config = request.getfixturevalue("prior_config" if base is prior else "small_config")
    part = part_of(config, key)
    with part.unlocked():
        part[old] = part[new]
        del part[new]
    with pytest.raises(InputError, match=f'{old} is unknown. It is now called "{new}"'):
        plan(Settings.of(config))


def test_every_old_name_is_answered(classifier_config):
    """Names of fields, above; and that of a value."""
    assert {*RENAMED.values()} == {*PLACES, "pooled"}
    classifier_config.model.quantize = "one"
    with pytest.raises(InputError, match="""config.model.quantize='one': .* It is now called "pooled\""""):
        plan(Settings.of(classifier_config))
