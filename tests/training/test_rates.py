"""Seconds of a step from what it costs: by hand, and against what others have published of their trainings."""

from typing import NamedTuple

import numpy as np
import pytest
from scipy.optimize import linprog

from configs import cifar10_ema
from vqjax.config.schema import Settings
from vqjax.system.accelerators import ACCELERATORS, Accelerator
from vqjax.training.cost import Collective, Cost
from vqjax.training.estimate import traced_cost
from vqjax.training.planned import ImageFacts, planned_run
from vqjax.training.rates import BANDWIDTH, DECODED, LAUNCH, LINK, UTILIZATION, Cluster, compute_seconds, step_seconds

ROUND = Accelerator({"float32": 1e12}, 16, 1_000, 100, 10, 8)  # of round numbers


def cost(**parts):
    none = {"flops": 0.0, "traffic": (0.0, 0.0), "live": (0.0, 0.0), "operations": 0.0, "collectives": ()}
    return Cost(**{**none, **parts})


@pytest.mark.parametrize(
    "parts, pixels, seconds, limit",
    [
        ({"flops": 1e12}, 0, (1 / UTILIZATION[1], 1 / UTILIZATION[0]), "compute"),
        ({"traffic": (1e12, 5e12)}, 0, (1 / BANDWIDTH, 1 / BANDWIDTH), "memory traffic"),
        ({"operations": 1e6}, 0, (1e6 * LAUNCH[0], 1e6 * LAUNCH[1]), "number of operations"),
        ({"flops": 1e9}, 12e9, (1e9 / DECODED[0], 1e9 / DECODED[1]), "input"),
        ({"flops": 1e12, "traffic": (1e12, 1e12)}, 0, (1 / UTILIZATION[1], 1 / UTILIZATION[0]), "compute"),
    ],
)
def test_the_slowest_part_counts(parts, pixels, seconds, limit):
    found = step_seconds(cost(**parts), Cluster(1, 1, ROUND, 12), "float32", pixels)
    assert found == (pytest.approx(seconds), limit)


def test_communication_is_hidden_at_best_and_comes_on_top_at_worst():
    """A sum of 1 GB over 4 devices: each sends 2 x 3/4 of it. Between hosts all cards of a host share it."""
    sums = cost(operations=1.0, collectives=(Collective("psum", 2e9, False), Collective("all_gather", 9e9, True)))
    sent = 1.5e9 / (100e9 * LINK)
    (least, most), limit = step_seconds(sums, Cluster(4, 1, ROUND, 12), "float32", 0.0)
    assert (least, most, limit) == (pytest.approx(sent), pytest.approx(sent + LAUNCH[1]), "communication")
    (least, _), _ = step_seconds(sums, Cluster(4, 2, ROUND, 12), "float32", 0.0)
    assert least == pytest.approx(1.5e9 / (20e9 * LINK))
    (least, _), _ = step_seconds(sums, Cluster(16, 1, ROUND, 12), "float32", 0.0)
    assert least == pytest.approx(2e9 * 15 / 16 / (100e9 * LINK))


class Published(NamedTuple):
    """A training of others: parameters, tokens of an image, images a second of a device, as they say."""

    parameters: float
    tokens: int
    device: str
    rates: tuple[float, ...]
    more: float = 1.0  # times the work of 6 FLOP per parameter and token


PUBLISHED = {
    "LlamaGen-B": Published(111e6, 256, "a100-80gb", (222, 556)),
    "LlamaGen-L": Published(343e6, 256, "a100-80gb", (278,)),
    "VAR-d16": Published(310e6, 680, "a100-80gb", (34, 74)),
    "RAR-L": Published(461e6, 256, "a100", (93,)),
    "MAR-L": Published(479e6, 256, "h100", (144,), 1.4),  # its diffusion head sees each token four times
    "RandAR-L": Published(343e6, 512, "h100", (139,)),  # not used to choose the band
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_throughputs_are_in_the_range(name):
    """By 6 FLOP per parameter and token, the words that they give themselves."""
    training = PUBLISHED[name]
    flops = 6 * training.more * training.parameters * training.tokens
    least, most = compute_seconds(flops, ACCELERATORS[training.device], "bfloat16")
    for rate in training.rates:
        assert 0.97 / most <= rate <= 1.03 / least, (1 / most, rate, 1 / least)


def test_tables_of_devices_are_plausible():
    for name, device in ACCELERATORS.items():
        assert device.flops["bfloat16"] >= device.flops["float32"] > 1e13, name
        assert device.memory < device.bandwidth and device.network <= device.link < device.bandwidth, name


AXES = {  # sizes and ms a step on two CPU devices, from benchmarks/README.md
    "batch": ((16, 32, 64, 128), (6.32, 9.19, 17.3, 32.4)),
    "codes": ((512, 1_024, 2_048, 4_096), (5.78, 6.61, 8.3, 10.2)),
    "width": ((32, 64, 128, 256), (7.14, 12.5, 29.6, 104)),
    "size": ((32, 64, 128, 256), (5.76, 18.4, 72.7, 393)),
}


def traced_flops(batch=16, codes=512, width=32, size=32):
    """FLOPs of a device, one of two, in a step of benchmarks.growth."""
    config = cifar10_ema.get_config()
    config.batch_size = batch
    config.model.deepmind.update({"width": width, "residual_width": width // 4})
    config.model.ema.num_codes = codes
    return traced_cost(planned_run(Settings.of(config), ImageFacts((size, size, 3), 50_000)).task, 2)[1].flops


@pytest.mark.more
@pytest.mark.parametrize("axis", AXES)
def test_measured_steps_grow_with_the_counted_work(axis):
    """A fixed time and one per FLOP, fitted so that the largest relative error is least, hold within a quarter.

    Those of the first and the last size give the two between within a quarter, but for images (docs/scale.md).
    """
    sizes, measured = AXES[axis]
    work = np.array([traced_flops(**{axis: size}) for size in sizes])
    share = np.stack([np.ones(len(sizes)), work / work[-1]], axis=1) / np.array(measured)[:, None]
    ones = np.ones((len(sizes), 1))
    bounds = np.block([[share, -ones], [-share, -ones]]), np.concatenate([ones, -ones])  # |share @ times - 1| <= error
    *_, error = linprog([0, 0, 1], *bounds).x  # no time is negative
    assert error < 0.25, error
    if axis != "size":
        between = np.interp(work, work[[0, -1]], [measured[0], measured[-1]]) / measured - 1
        assert np.abs(between).max() < 0.25, between
