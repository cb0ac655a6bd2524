"""Ways that differ from platform to platform: which one a program has."""

import jax
import jax.numpy as jnp
import pytest

from vqjax.ops.platforms import by_platform, trace_for


@jax.jit
def either(x):
    return by_platform(x, cpu=jnp.sin, default=jnp.cos)


@pytest.mark.parametrize("platform, way", [("cpu", "sine"), ("gpu", "cosine"), ("tpu", "cosine")])
def test_what_is_compiled_for_a_platform_has_its_way_alone(platform, way):
    text = jax.jit(trace_for(platform, lambda x: either(x))).lower(1.0).as_text()
    assert "stablehlo.case" not in text
    assert [name for name in ("sine", "cosine") if f"stablehlo.{name} " in text] == [way]


def test_elsewhere_it_is_decided_when_it_is_lowered():
    """Also of a function that was traced for one platform before."""
    jax.jit(trace_for("gpu", lambda x: either(x)))(1.0)
    assert float(either(1.0)) == pytest.approx(0.84147, abs=1e-5)
    texts = {}
    for platforms in (("cpu",), ("cuda",), ("cpu", "cuda")):
        texts[platforms] = jax.export.export(either, platforms=platforms)(1.0).mlir_module()
    assert "stablehlo.case" in texts["cpu", "cuda"]
    assert "stablehlo.sine " in texts[("cpu",)] and "stablehlo.cosine " in texts[("cuda",)]
    assert "stablehlo.cosine " not in texts[("cpu",)] and "stablehlo.sine " not in texts[("cuda",)]
