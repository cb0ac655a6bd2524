import jax
import numpy as np
import pytest
from conftest import CODED
from helpers import split_of, task_of

from vqjax.ops import axes
from vqjax.system.errors import InputError
from vqjax.tasks import quantized
from vqjax.tasks.base import example_keys


@pytest.mark.more
@pytest.mark.parametrize("quantizer", CODED)
def test_codes_carry_the_whole_image(small_config, quantizer):
    """decode(encode(x)) is what the autoencoder makes of x, in evaluation."""
    small_config.model.quantizer = quantizer
    task = task_of(small_config)
    variables = jax.jit(task.init)(jax.random.key(0))
    x = task.likelihood.inputs(split_of(small_config, "test").arrays["image"][:8])
    codes = task.module.apply(variables, x, method="encode")
    (level,) = task.layout.levels
    assert codes.shape == (8, *level.shape) and codes.dtype == np.int32
    assert codes.min() >= 0 and codes.max() < level.num_codes == task.module.quantizer.num_codes
    output = task.module.apply(variables, codes, method="decode")
    np.testing.assert_allclose(output, task.module.apply(variables, x, False).output, atol=1e-6)


def test_a_residual_quantizer_of_itself_is_no_level(small_config):
    small_config.model.codec = "hierarchical"
    small_config.model.residual.quantizer = "residual"
    for num_codes, message in ((0, "residual.quantizer='residual': expected another entry"), (8, "expected 0")):
        small_config.model.hierarchical.top.update(quantizer="residual", num_codes=num_codes)
        with pytest.raises(InputError, match=message):
            task_of(small_config)


@pytest.mark.more
def test_the_codebook_starts_on_vectors_of_training(small_config):
    """With batch norm too: k-means sees what the first step will see, not the output under running statistics."""
    small_config.model.deepmind.batch_norm = True
    small_config.model.ema.num_codes = 4
    task = task_of(small_config)
    variables = jax.jit(task.init)(jax.random.key(0))
    images = split_of(small_config, "test").arrays["image"][:16]
    batch = {"image": images, "example": np.arange(16)}
    after = task.initialize(variables, iter([batch]), 0)
    step = jax.vmap(
        lambda batch: task.apply(variables, batch, True, 0.0, example_keys(batch, jax.random.key(1)))[0].vectors[0],
        axis_name=axes.BATCH,
    )
    z = step(jax.tree.map(lambda x: x[None], batch)).reshape(-1, 8)
    codebook = task.module.apply(after, np.arange(4), method="lookup")
    nearest = np.argmin(((z[:, None] - codebook) ** 2).sum(-1), axis=1)
    for code in range(4):  # a center is the mean of what is nearest to it, as far as 20 iterations have come
        assert np.linalg.norm(z[nearest == code].mean(0) - codebook[code]) < 0.1 * np.linalg.norm(codebook[code])


def test_the_weights_are_not_in_the_program_of_the_first_vectors(small_config, monkeypatch):
    """Which would be compiled for each seed anew, and be as large as they are."""
    task, programs = task_of(small_config), []

    def recorded(function):
        def call(*arguments):
            programs.append(jax.jit(function).lower(*arguments).as_text())
            return jax.jit(function)(*arguments)

        return call

    monkeypatch.setattr(quantized, "jit_fast_compile", recorded)
    for seed in (0, 1):
        batches = iter([{"image": np.zeros((8, 8, 8, 1), np.float32)}])
        task.initialize(jax.jit(task.init)(jax.random.key(seed)), batches, 0)
    assert len(programs) == 2 and programs[0] == programs[1]


def test_too_few_vectors_are_taken_again(small_config):
    """A codebook of more codes than one epoch has vectors still starts."""
    task = task_of(small_config)
    variables = jax.jit(task.init)(jax.random.key(0))
    few = iter([{"image": np.zeros((1, 4, 4, 1), np.float32)}])  # one position, for 16 codes
    after = task.initialize(variables, few, 0)
    codebook = task.module.apply(after, np.arange(16), method="lookup")
    assert np.all(np.isfinite(codebook))
