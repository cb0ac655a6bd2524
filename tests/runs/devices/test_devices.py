"""How a step is compiled for the devices."""

import json
import os

import jax
import numpy as np
import pytest
from helpers import command

from vqjax.ops import axes
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


COUNT = """
import json, os, sys
from vqjax.runs import devices
sizes = json.loads(sys.argv[1])
later = json.loads(sys.argv[2])
CORES
devices.set_cpu_device_count(*sizes)
import jax
print(json.dumps([jax.device_count(), *(len(devices.counts.devices_for_batch(size)) for size in later or sizes)]))
"""


def counted(*sizes, cores, later=(), **environment):
    """The devices of a fresh process on so many cores, and those that each batch takes: of `sizes`, or later ones."""
    program = COUNT.replace("CORES", f"os.sched_getaffinity = lambda _: range({cores})")
    kept = {name: value for name, value in os.environ.items() if name not in ("XLA_FLAGS", "JAX_NUM_CPU_DEVICES")}
    result = command("-c", program, json.dumps(sizes), json.dumps(later), env={**kept, **environment})
    return json.loads(result.stdout) if not result.returncode else result.stderr


def test_cpus_have_a_device_for_each_core_that_divides_the_batch():
    assert counted(64, cores=6) == [4, 4]
    assert counted(64, 96, cores=48) == [32, 32, 32]
    assert counted(7, cores=4) == [1, 1]


@pytest.mark.parametrize(
    "environment",
    [{"XLA_FLAGS": "--xla_force_host_platform_device_count=8"}, {"JAX_NUM_CPU_DEVICES": "8"}],
    ids=["XLA_FLAGS", "JAX_NUM_CPU_DEVICES"],
)
def test_a_number_of_devices_that_is_asked_for_stands(environment):
    assert counted(64, cores=2, **environment) == [8, 8]
    assert "config.batch_size=12: expected a multiple of the 8 devices" in counted(12, cores=2, **environment)


def test_a_later_batch_takes_as_many_devices_as_divide_it():
    """Of those that nobody asked for: a second run in the same process may have another batch."""
    assert counted(16, cores=8, later=(16, 12, 7)) == [8, 8, 6, 7]
