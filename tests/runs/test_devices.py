"""How a step is compiled for the devices."""

import jax
import numpy as np
import pytest

from vqjax.core import axes
from vqjax.runs.devices import PARALLEL


@pytest.mark.parametrize("how", PARALLEL)
def test_a_step_is_compiled_once(how, caplog):
    """What a step returns lies on the devices as `replicate` lays it: the second step needs no second program."""
    program = PARALLEL[how]()
    step = program.compile(lambda state, x: state + jax.lax.pmean(x["x"].sum(), axes.BATCH), donate=True)
    state = program.replicate(np.zeros(3, np.float32))
    batch = program.shard({"x": np.ones(2 * jax.local_device_count(), np.float32)})
    step(program.replicate(np.ones(3, np.float32)), batch)
    with jax.log_compiles():
        state = step(step(state, batch), batch)
    assert not [record for record in caplog.records if "XLA compilation" in record.message]
    np.testing.assert_array_equal(program.collect(state), [4, 4, 4])
    assert program.replicate({}) == {}
