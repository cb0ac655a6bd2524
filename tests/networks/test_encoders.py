import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vqjax.networks.encoders import DECODERS, ENCODERS
from vqjax.ops import axes
from vqjax.ops.conv import conv
from vqjax.quantizers import Identity
from vqjax.tasks.codecs.single import SingleLevel

REFERENCE = dict(
    width=128,
    residual_width=32,
    blocks=2,
    stages=2,
    batch_norm=False,
    weight_norm=False,
    kernel_init="lecun",
    relu_skip=False,
)


def count(tree):
    return sum(np.size(leaf) for leaf in jax.tree.leaves(tree))


def shapes_of(module, shape):
    return jax.eval_shape(lambda: module.init_with_output(jax.random.key(0), jnp.zeros(shape), False))


# VQ-VAE-Images on 3 channels, D 64: weights and biases layer by layer. A residual block is
# 3 x 3 x 128 x 32 + 32 x 128 = 40,960.
ENCODER_PARAMETERS = (48 * 64 + 64) + (1024 * 128 + 128) + (1152 * 128 + 128) + 2 * 40_960 + (128 * 64 + 64)
DECODER_PARAMETERS = (576 * 128 + 128) + 2 * 40_960 + (2048 * 64 + 64) + (1024 * 3 + 3)


def test_parameter_counts_by_hand_with_the_sizes_of_vq_vae_images():
    """Ours, whose two blocks have weights of their own: VQ-VAE-Images has one block twice, and 2 x 40,960 fewer."""
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


VQGAN = {"width": 32, "multipliers": (1, 2), "attention": (1,), "blocks": 1, "latent_width": 4, "kernel_init": "lecun"}

# DALL-E's networks at width 8, 2 groups of 1 block, D 5, 3 channels. A block of width n from m channels has
# bottlenecks of n / 4; its last or first convolution is the 1 x 1.
OPENAI = {"width": 8, "groups": 2, "blocks": 1, "kernel_init": "lecun"}
OPENAI_ENCODER = (49 * 3 * 8 + 8) + (9 * 8 * 2 + 2) + 2 * (9 * 2 * 2 + 2) + (2 * 8 + 8)  # stem, group 1: 8 -> 8
OPENAI_ENCODER += (9 * 8 * 4 + 4) + 2 * (9 * 4 * 4 + 4) + (4 * 16 + 16) + (8 * 16 + 16)  # group 2: 8 -> 16, id
OPENAI_ENCODER += 16 * 5 + 5
OPENAI_DECODER = (5 * 4 + 4) + 2 * (9 * 4 * 4 + 4) + (9 * 4 * 16 + 16) + (5 * 16 + 16)  # group 2: 5 -> 16, id
OPENAI_DECODER += (16 * 2 + 2) + 2 * (9 * 2 * 2 + 2) + (9 * 2 * 8 + 8) + (16 * 8 + 8)  # group 1: 16 -> 8, id
OPENAI_DECODER += 8 * 3 + 3


def test_parameter_counts_of_dalles_networks():
    output, variables = shapes_of(ENCODERS["openai"](features=5, **OPENAI), (2, 32, 32, 3))
    assert output.shape == (2, 16, 16, 5) and count(variables["params"]) == OPENAI_ENCODER
    output, variables = shapes_of(DECODERS["openai"](features=3, **OPENAI), (2, 16, 16, 5))
    assert output.shape == (2, 32, 32, 3) and count(variables["params"]) == OPENAI_DECODER


def test_dalles_encoder_by_hand():
    """One group of two blocks, layer by layer: the gain of a block is 1 / 2 ** 2."""
    network = ENCODERS["openai"](features=4, width=8, groups=1, blocks=2, kernel_init="lecun")
    x = jax.random.normal(jax.random.key(0), (2, 6, 6, 3))
    variables = network.init(jax.random.key(1), x, False)

    def layer(index, x):
        params = variables["params"][f"Conv_{index}"]
        return conv(x, params["kernel"]) + params["bias"]

    y = layer(0, x)
    for first in (1, 5):
        branch = y
        for index in range(first, first + 4):
            branch = layer(index, nn.relu(branch))
        y = y + branch / 4
    np.testing.assert_allclose(network.apply(variables, x, False), layer(9, nn.relu(y)), atol=1e-5)


@pytest.mark.parametrize("stages", [0, 1, 2, 3])
@pytest.mark.parametrize("shape", [(8, 24, 1), (40, 16, 3), (8, 8, 4)])
@pytest.mark.parametrize("name", ENCODERS)
@pytest.mark.thinned(4)
def test_any_size_the_stride_divides(name, shape, stages):
    fields = {
        "deepmind": {**REFERENCE, "width": 8, "residual_width": 4, "stages": stages},
        "openai": {**OPENAI, "groups": stages + 1},
        "vqgan": {**VQGAN, "multipliers": (1, 1, 1, 2)[: stages + 1], "attention": (stages,)},
    }[name]
    encoder, decoder = ENCODERS[name](features=5, **fields), DECODERS[name](features=shape[-1], **fields)
    assert encoder.stride == decoder.stride == 2**stages
    z, _ = shapes_of(encoder, (3, *shape))
    assert z.shape == (3, shape[0] // encoder.stride, shape[1] // encoder.stride, 5)
    x, _ = shapes_of(decoder, z.shape)
    assert x.shape == (3, *shape)


@pytest.mark.parametrize("table", [ENCODERS, DECODERS])
@pytest.mark.parametrize("name", ENCODERS)
def test_bfloat16_computes_in_bfloat16(table, name):
    fields = {"deepmind": {**REFERENCE, "batch_norm": True}, "openai": OPENAI, "vqgan": VQGAN}[name]
    network = table[name](features=5, dtype=jnp.bfloat16, **fields)
    output, variables = shapes_of(network, (1, 8, 8, 3))
    assert output.dtype == jnp.bfloat16
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}


CHOICES = {
    "deepmind": {**REFERENCE, "width": 8, "residual_width": 8, "blocks": 6, "stages": 1, "batch_norm": True},
    "openai": {**OPENAI, "groups": 2, "blocks": 3},
    "vqgan": {**VQGAN, "multipliers": (1, 1, 1), "attention": (), "blocks": 2},
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ENCODERS)
def test_remat_takes_less_memory_and_changes_nothing(kind):
    """CPU's compiler would undo it: the pass that does is switched off."""
    x = jax.random.normal(jax.random.key(0), (1, 64, 64, 3))
    results = []
    for remat in (False, True):
        encoder, decoder = (table[kind](features=3, remat=remat, **CHOICES[kind]) for table in (ENCODERS, DECODERS))
        module = SingleLevel(encoder, Identity(3), decoder)
        variables = jax.jit(module.init, static_argnums=2)(jax.random.key(1), x, False)

        def loss(params, module=module, variables=variables):
            y, extra = module.apply({**variables, "params": params}, x, True, mutable=["batch_stats"])
            return jnp.mean((y.output - x) ** 2), extra

        step = jax.vmap(jax.value_and_grad(loss, has_aux=True), in_axes=None, axis_size=1, axis_name=axes.BATCH)
        lowered = jax.jit(lambda params, step=step: jax.tree.map(lambda y: y[0], step(params))).lower(
            variables["params"]
        )
        program = lowered.compile({"xla_disable_hlo_passes": "cse_barrier_expander"})
        results.append((variables, program(variables["params"]), program.memory_analysis().temp_size_in_bytes))
    (kept, kept_step, kept_bytes), (again, again_step, bytes_again) = results
    jax.tree.map(np.testing.assert_array_equal, kept, again)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5), kept_step, again_step)
    assert bytes_again < 0.7 * kept_bytes, (kept_bytes, bytes_again)
