import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vqjax.networks import DECODERS, ENCODERS

REFERENCE = dict(
    width=128, residual_width=32, blocks=2, stages=2, batch_norm=False, weight_norm=False, kernel_init="lecun"
)


def count(tree):
    return sum(np.size(leaf) for leaf in jax.tree.leaves(tree))


def shapes_of(module, shape):
    return jax.eval_shape(lambda: module.init_with_output(jax.random.key(0), jnp.zeros(shape), False))


# VQ-VAE-Images on 3 channels, D 64: weights and biases layer by layer. A residual block is
# 3 x 3 x 128 x 32 + 32 x 128 = 40,960.
ENCODER_PARAMETERS = (48 * 64 + 64) + (1024 * 128 + 128) + (1152 * 128 + 128) + 2 * 40_960 + (128 * 64 + 64)
DECODER_PARAMETERS = (576 * 128 + 128) + 2 * 40_960 + (2048 * 64 + 64) + (1024 * 3 + 3)


def test_parameter_counts_of_the_reference():
    encoder = ENCODERS["deepmind"](features=64, **REFERENCE)
    output, variables = shapes_of(encoder, (2, 32, 32, 3))
    assert output.shape == (2, 8, 8, 64)
    assert count(variables["params"]) == ENCODER_PARAMETERS == 372_096
    decoder = DECODERS["deepmind"](features=3, **REFERENCE)
    output, variables = shapes_of(decoder, (2, 8, 8, 64))
    assert output.shape == (2, 32, 32, 3)
    assert count(variables["params"]) == DECODER_PARAMETERS == 289_987


def test_weight_norm_adds_one_scale_per_output_channel():
    encoder = ENCODERS["deepmind"](features=64, **{**REFERENCE, "weight_norm": True})
    _, variables = shapes_of(encoder, (2, 32, 32, 3))
    assert count(variables["params"]) == ENCODER_PARAMETERS + 64 + 128 + 128 + 2 * (32 + 128) + 64


def test_batch_norm_adds_scale_bias_and_statistics_and_drops_the_bias_before_it():
    encoder = ENCODERS["deepmind"](features=64, **{**REFERENCE, "batch_norm": True})
    _, variables = shapes_of(encoder, (2, 32, 32, 3))
    channels = 64 + 128 + 128 + 2 * (32 + 128)
    assert count(variables["params"]) == ENCODER_PARAMETERS + 2 * channels - (64 + 128 + 128)
    assert count(variables["batch_stats"]) == 2 * channels


@pytest.mark.parametrize("stages", [0, 1, 2, 3])
@pytest.mark.parametrize("shape", [(8, 24, 1), (40, 16, 3), (8, 8, 4)])
@pytest.mark.parametrize("name", ENCODERS)
def test_any_size_the_stride_divides(name, shape, stages):
    fields = {**REFERENCE, "width": 8, "residual_width": 4, "stages": stages}
    encoder, decoder = ENCODERS[name](features=5, **fields), DECODERS[name](features=shape[-1], **fields)
    assert encoder.stride == decoder.stride == 2**stages
    z, _ = shapes_of(encoder, (3, *shape))
    assert z.shape == (3, shape[0] // encoder.stride, shape[1] // encoder.stride, 5)
    x, _ = shapes_of(decoder, z.shape)
    assert x.shape == (3, *shape)


@pytest.mark.parametrize("table", [ENCODERS, DECODERS])
def test_bfloat16_computes_in_bfloat16(table):
    for network in table.values():
        fields = {**REFERENCE, "width": 8, "residual_width": 4, "batch_norm": True}
        output, variables = shapes_of(network(features=5, dtype=jnp.bfloat16, **fields), (1, 8, 8, 3))
        assert output.dtype == jnp.bfloat16
        assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
