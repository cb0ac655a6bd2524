import jax
import numpy as np
import pytest

from vqjax import data, tasks
from vqjax.quantizers import QUANTIZERS


@pytest.mark.parametrize("quantizer", QUANTIZERS)
def test_codes_carry_the_whole_image(small_config, quantizer):
    """decode(encode(x)) is what the autoencoder makes of x, in evaluation."""
    small_config.model.quantizer = quantizer
    task = tasks.make(small_config)
    variables = jax.jit(task.init)(jax.random.key(0))
    x = task.likelihood.inputs(data.load(small_config, ("test",))["test"].arrays["image"][:8])
    codes = task.module.apply(variables, x, method="encode")
    assert codes.shape == (8, *task.grid) and codes.dtype == np.int32
    assert codes.min() >= 0 and codes.max() < task.module.quantizer.num_codes
    output = task.module.apply(variables, codes, method="decode")
    np.testing.assert_allclose(output, task.module.apply(variables, x, False).output, atol=1e-6)
