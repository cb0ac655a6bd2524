from typing import Annotated

import pytest
from helpers import part_of, task_of
from ml_collections import ConfigDict

from vqjax.config.annotations import Decay, OneOf, Positive, Range
from vqjax.config.check import Section, build
from vqjax.config.plain import chosen_sections, differences
from vqjax.system.errors import InputError, did_you_mean


def entry(size: Positive, rate: Decay = 0.5, kind: Annotated[str, OneOf(("a", "b"))] = "a", given: int = 0):
    return size, rate, kind, given


def config_of(**fields):
    return ConfigDict({"part": {"choice": "entry", "entry": fields}})


def test_build_calls_the_chosen_entry_with_its_fields():
    assert build({"entry": entry}, Section.of(config_of(size=3, rate=0), "config.part"), "choice", given=7) == (
        3,
        0.0,
        "a",
        7,
    )


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"size": 0}, "config.part.entry.size=0: expected at least 1 and at most 2147483647"),
        ({"size": 1.5}, "config.part.entry.size=1.5: expected int, got float"),
        ({"size": True}, "config.part.entry.size=True: expected int, got bool"),
        ({"size": 1, "rate": 1.0}, "config.part.entry.rate=1.0: expected at least 0 and at most 0.999999"),
        ({"size": 1, "rate": float("nan")}, "config.part.entry.rate=nan: expected at least 0 and at most 0.999999"),
        ({"size": 10**400}, "config.part.entry.size=1000"),
        ({"size": 1, "kind": "c"}, "config.part.entry.kind='c': expected one of a, b"),
        ({"size": 1, "kind": "aa"}, "config.part.entry.kind='aa': expected one of a, b. Did you mean \"a\"?"),
        ({"size": 1, "rat": 0.1}, 'config.part.entry.rat is unknown. Did you mean "rate"?'),
        ({"size": 1, "given": 3}, "config.part.entry.given is unknown."),
        ({"rate": 0.1}, "config.part.entry.size is missing from the config"),
    ],
)
def test_a_wrong_field_is_named_with_what_was_expected(fields, message):
    with pytest.raises(InputError) as error:
        build({"entry": entry}, Section.of(config_of(**fields), "config.part"), "choice", given=7)
    assert str(error.value).startswith(message)


def test_an_unknown_entry_lists_the_known_ones():
    config = config_of(size=1)
    config.part.choice = "entrie"
    with pytest.raises(InputError, match=r"config.part.choice='entrie' is unknown. Did you mean \"entry\"\?\nKnown"):
        build({"entry": entry}, Section.of(config, "config.part"), "choice")


@pytest.mark.parametrize("name", ["MNIST", "mnsit", "Mnist"])
def test_the_nearest_name_is_found_in_any_case(name):
    assert did_you_mean(name, ("digits", "mnist")) == ' Did you mean "mnist"?'


def test_what_is_no_section_is_named(small_config):
    small_config.model.ema = None
    with pytest.raises(InputError, match="config.model.ema=None: expected the fields of ema, a dict"):
        task_of(small_config)


def test_differences_are_dotted():
    old, new = {"a": 1, "b": {"c": 2, "d": 3}}, {"a": 1, "b": {"c": 4, "e": 5}}
    assert differences(old, new) == {"b.c": (2, 4), "b.d": (3, None), "b.e": (None, 5)}


@pytest.mark.parametrize(
    "key, value",
    [
        ("steps", 0),
        ("seed", -1),
        ("batch_size", 0),
        ("log_every", 0),
        ("task", "autoencodr"),
        ("parallel", "pmpa"),
        ("data.name", "cifar11"),
        ("data.validation", 1.0),
        ("data.crop", -1),
        ("data.crop", 8),
        ("model.code_dim", 0),
        ("model.dtype", "float33"),
        ("model.encoder", "deepmnd"),
        ("model.quantizer", "emma"),
        ("model.likelihood", "mes"),
        ("model.deepmind.width", 0),
        ("model.deepmind.blocks", -1),
        ("model.deepmind.kernel_init", "kaimin"),
        ("model.ema.num_codes", 0),
        ("model.ema.num_codes", 2**18 + 1),
        ("model.ema.decay", 1.0),
        ("model.ema.beta", -0.1),
        ("model.ema.dead_code_threshold", 1.1),
        ("model.mse.weight", 0.0),
        ("optimizer.name", "amsgard"),
        ("optimizer.schedule", "cosin"),
        ("optimizer.learning_rate", 0.0),
        ("optimizer.warmup", 6),
        ("optimizer.clip_norm", -1.0),
        ("optimizer.amsgrad.b1", 1.0),
    ],
)
def test_every_value_out_of_range_is_refused_by_its_key(small_config, key, value):
    task_of(small_config)
    small_config.update_from_flattened_dict({key: value})
    with pytest.raises(InputError) as error:
        task_of(small_config)
    lines = str(error.value).splitlines()
    assert f"config.{key}={value!r}" in lines[0] and len(lines) <= 5
    assert "expected" in lines[0] or "Did you mean" in lines[0]


@pytest.mark.parametrize(
    "key", ["steps", "data.flip", "model.code_dim", "model.ema", "optimizer.clip_norm", "optimizer"]
)
def test_a_missing_field_is_named(small_config, key):
    parent, _, name = key.rpartition(".")
    with small_config.unlocked():
        del (small_config[parent] if parent else small_config)[name]
    with pytest.raises(InputError, match=f"config.{key} is missing from the config"):
        task_of(small_config)


@pytest.mark.parametrize(
    "section", ["", "data", "model", "model.deepmind", "model.ema", "optimizer", "optimizer.amsgrad"]
)
def test_an_unknown_field_is_named(small_config, section):
    with small_config.unlocked():
        part_of(small_config, section).sped = 1
    with pytest.raises(InputError, match=f"config.{section + '.' if section else ''}sped is unknown."):
        task_of(small_config)


@pytest.mark.parametrize("stages, fits", [(0, True), (3, True), (4, False)])
def test_the_stride_must_divide_the_image(small_config, stages, fits):
    small_config.model.deepmind.stages = stages
    if fits:
        task_of(small_config)
    else:
        with pytest.raises(InputError, match=r"config.model.deepmind: the stride 16 does not divide .* 8 x 8"):
            task_of(small_config)


def test_the_devices_must_divide_the_batch(small_config):
    small_config.batch_size = 12
    with pytest.raises(InputError, match="config.batch_size=12: expected a multiple of the 8 devices"):
        task_of(small_config)


def of_several(sizes: tuple[Annotated[int, Range(2, 9)], ...]):
    return sizes


@pytest.mark.parametrize("sizes", [(2, 9, 5), [2, 9, 5], (2,), ()])
def test_a_field_of_several_is_a_tuple(sizes):
    """Also where it is a list, as JSON gives it back."""
    found = build({"entry": of_several}, Section.of(config_of(sizes=sizes), "config.part"), "choice")
    assert found == tuple(sizes) and isinstance(found, tuple)


@pytest.mark.parametrize(
    "sizes, message",
    [
        ((3, 10), "config.part.entry.sizes[1]=10: expected at least 2 and at most 9"),
        ([1, 3], "config.part.entry.sizes[0]=1: expected at least 2 and at most 9"),
        ((3, 4.0), "config.part.entry.sizes[1]=4.0: expected int, got float"),
        ((True,), "config.part.entry.sizes[0]=True: expected int, got bool"),
        (((3, 4),), "config.part.entry.sizes[0]=(3, 4): expected int, got tuple"),
        (3, "config.part.entry.sizes=3: expected tuple, got int"),
        ("34", "config.part.entry.sizes='34': expected tuple, got str"),
        (None, "config.part.entry.sizes=None: expected tuple, got NoneType"),
    ],
)
def test_a_wrong_one_of_several_is_named(sizes, message):
    with pytest.raises(InputError) as error:
        build({"entry": of_several}, Section.of(config_of(sizes=sizes), "config.part"), "choice")
    assert str(error.value) == message


def test_what_a_config_chooses_is_found_at_any_depth():
    part = {
        "codec": "two",
        "two": {"top": {"quantizer": "sum"}, "bottom": {"quantizer": "a"}},
        "sum": {"quantizer": "b"},
        **{name: {"text": "d"} for name in "abc"},
    }
    assert chosen_sections(part) == ["two", "sum", "a", "b"]
