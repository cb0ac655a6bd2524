"""Ways that differ from platform to platform: which of them a program has, and who may name a platform."""

import ast
import types

import jax
import jax.numpy as jnp
import pytest
from conftest import REPOSITORY
from helpers import as_on

from vqjax.ops.platforms import by_platform, jit_fast_compile, on_cpu, trace_for

NAMES = {"cpu", "gpu", "cuda", "tpu", "rocm"}
QUESTIONS = {"default_backend", "platform_dependent", "xla_backend_optimization_level", "by_platform"}


@jax.jit
def either(x):
    return by_platform(x, cpu=jnp.sin, default=jnp.cos)


@pytest.mark.parametrize("platform, way", [("cpu", "sine"), ("gpu", "cosine"), ("tpu", "cosine")])
def test_a_program_traced_for_a_platform_has_its_way_alone(platform, way):
    device = types.SimpleNamespace(platform=platform)
    text = jax.jit(trace_for(device, lambda x: either(x))).lower(1.0).as_text()
    assert "stablehlo.case" not in text
    assert [name for name in ("sine", "cosine") if f"stablehlo.{name} " in text] == [way]


def test_any_other_program_gets_its_way_when_it_is_lowered():
    """Even if the function was traced for one platform before."""
    jax.jit(as_on("cuda", lambda x: either(x)))(1.0)
    assert float(either(1.0)) == pytest.approx(0.84147, abs=1e-5)
    texts = {}
    for platforms in (("cpu",), ("cuda",), ("cpu", "cuda")):
        texts[platforms] = jax.export.export(either, platforms=platforms)(1.0).mlir_module()
    assert "stablehlo.case" in texts["cpu", "cuda"]
    assert "stablehlo.sine " in texts[("cpu",)] and "stablehlo.cosine " in texts[("cuda",)]
    assert "stablehlo.cosine " not in texts[("cpu",)] and "stablehlo.sine " not in texts[("cuda",)]


def test_the_question_is_answered_for_the_platform_that_is_traced_for():
    assert on_cpu() and as_on("cpu", on_cpu)() and not as_on("cuda", on_cpu)()


def test_a_program_that_is_compiled_fast_is_the_same():
    assert jit_fast_compile(jnp.sin)(0.5) == jnp.sin(0.5)


def test_no_other_room_names_a_platform():
    """But for PyTorch's "cpu", the memory that it loads weights into."""
    for path in (path for path in (REPOSITORY / "vqjax").rglob("*.py") if path.parent.name != "ops"):
        text = path.read_text()
        refused = NAMES | QUESTIONS if "torch.load(" not in text else QUESTIONS
        for node in ast.walk(ast.parse(text)):
            words = {getattr(node, name, None) for name in ("value", "attr", "id")}
            assert not words & refused, f"{path}: {words & refused}"
