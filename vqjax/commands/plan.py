"""Estimates what a run costs on devices that need not be here: `vqjax plan --help`."""

import dataclasses
import re
from collections.abc import Iterable, Iterator
from typing import Annotated, Any

from vqjax.commands.report import Report
from vqjax.config import loading
from vqjax.config.annotations import Natural, OneOf, Positive
from vqjax.config.check import check_value
from vqjax.config.flags import ConfigParser
from vqjax.config.schema import Settings
from vqjax.system.accelerators import ACCELERATORS
from vqjax.system.arguments import add_output_flags, whole_number
from vqjax.system.errors import InputError
from vqjax.system.terminal import starting_jax

_GIB = 2**30


def parser() -> ConfigParser:
    """Return the parser of the command's arguments."""
    description = "Estimate what a run costs before it starts. Neither the devices nor the data need be here."
    example = "--config imagenet_vqgan --devices 64 --device a100 --config.batch_size=256"
    arguments = ConfigParser("plan", description, example, workdir=False)
    arguments.add_argument("--device", metavar="NAME", help=f"kind of the devices: {', '.join(ACCELERATORS)}")
    arguments.add_argument("--devices", type=whole_number, metavar="N", default=1, help="number of them (default: 1)")
    numbers = {
        "hosts": "of hosts that the devices are spread over (default: as many as usual)",
        "cores": "of CPU cores of a host (default: 12 for each of its devices)",
        "num_images": "of train images, of a data set that is not here",
        "num_classes": "of classes of such a set (default: 0)",
    }
    for name, text in numbers.items():
        arguments.add_argument(f"--{name}", type=whole_number, metavar="N", default=0, help=f"number {text}")
    arguments.add_argument("--shape", metavar="HxWxC", default="", help="shape of an image of such a set")
    text = "the stage 1 of a second stage, if it is not trained yet"
    arguments.add_argument("--stage1_config", metavar="FILE[:ARG]", default="", help=text)
    add_output_flags(arguments)
    return arguments


def run(given: Any) -> Report:
    """Estimate."""
    device = check_value(given.device or "", Annotated[str, OneOf(ACCELERATORS)], "--device")
    check_value(given.devices, Positive, "--devices")
    for name in ("hosts", "cores", "num_images", "num_classes"):
        check_value(getattr(given, name), Natural, f"--{name}")
    shape = _shape(given)
    settings, stage1 = Settings.of(given.config), _stage1(given.stage1_config)
    with starting_jax():
        from vqjax.training.estimate import default_cores, default_hosts, estimate
        from vqjax.training.planned import ImageFacts, planned_run
        from vqjax.training.rates import Cluster

    images = ImageFacts(shape, given.num_images, given.num_classes) if shape else None
    planned = planned_run(settings, images, stage1)
    accelerator = ACCELERATORS[device]
    hosts = given.hosts or default_hosts(given.devices, accelerator)
    cluster = Cluster(given.devices, hosts, accelerator, given.cores or default_cores(given.devices, hosts))
    found = estimate(planned, cluster)
    where = {"device": device, "devices": cluster.devices, "hosts": hosts, "cores": cluster.cores}
    return Report([*_lines(found, where, settings)], {**dataclasses.asdict(found), **where})


def _stage1(text: str) -> Settings | None:
    """Return the settings of the config that --stage1_config names; None for ""."""
    flag = "--stage1_config"
    return Settings.of(loading.load_config(*loading.find_config(text, flag), flag)) if text else None


def _shape(given: Any) -> tuple[int, ...]:
    """Return (H, W, C) of --shape; () if neither it nor --num_images is given."""
    if bool(given.shape) != bool(given.num_images):
        raise InputError("--num_images and --shape: expected both or neither")
    if given.shape and not re.fullmatch(r"[1-9]\d*x[1-9]\d*x[13]", given.shape):
        raise InputError(f"--shape={given.shape}: expected HxWxC, such as 256x256x3")
    return tuple(map(int, given.shape.split("x"))) if given.shape else ()


def _lines(found: Any, where: dict[str, Any], settings: Settings) -> Iterator[str]:
    """Yield what an estimate says, for a person."""
    devices, hosts, size = where["devices"], where["hosts"], settings.batch_size
    host = f"{hosts} host{'s' * (hosts > 1)}"
    yield f"{devices} x {where['device']}, {host} with {where['cores']} cores each, batches of {size:,}"
    yield f"parameters: {found.parameters:,}"
    traffic = _range(x / 1e6 for x in found.bytes_per_image)
    yield f"an image in a step: {_short(found.flops_per_image / 1e9)} GFLOP, {traffic} MB to and from memory"
    yield from _memory_lines(found)
    always, more = (_short(found.communication[name] / 1e6) for name in ("always", "with_dead_codes"))
    yield f"communication: {always} MB sent by a device in a step, {more} MB more with a dead code"
    speed, cores = _short(found.input["bytes_per_second"] / 1e6), found.input["cores"]
    decoding = f"{_range(cores)} of its cores to decode that" if cores[1] else "nothing to decode"
    yield f"input: {speed} MB/s to a host at most, {decoding}"
    codes = "" if found.code_bytes is None else f"; codes of train: {_short(found.code_bytes / 1e6)} MB"
    yield f"checkpoint: {_short(found.checkpoint_bytes / 1e6)} MB{codes}"
    rates = found.steps_per_second
    yield f"speed: {_range(rates)} steps/s, {_range(size * rate for rate in rates)} images/s"
    in_hours = found.hours[1] >= 1
    times = _range(found.hours) if in_hours else _range(60 * hours for hours in found.hours)
    yield f"{settings.steps:,} steps: {times} {'hours' if in_hours else 'minutes'}"
    yield f"limit: {found.limit}"


def _memory_lines(found: Any) -> Iterator[str]:
    """Yield the line on memory, and one on the other way of `remat`."""
    memory, (best, worst) = found.memory_per_device, found.fits
    fixed = (memory["state"] + memory["gradients"] + memory["frozen"]) / _GIB
    activations = _range(size / _GIB for size in memory["activations"])
    verdict = "fits" if worst else "may fit" if best else "does not fit"
    yield (
        f"memory of a device: {_short(fixed)} GiB of state and gradients, {activations} GiB of activations, "
        f"of {_short(memory['device'] / _GIB)} GiB: {verdict}"
    )
    for name in ("with_remat", "without_remat"):
        other = memory[name]
        if other and other != memory["activations"]:
            yield f"  {name.replace('_', ' ')} {_range(size / _GIB for size in other)} GiB of activations"


def _range(values: Iterable[float]) -> str:
    """Return the least and the most of a quantity as text."""
    return " to ".join(map(_short, values))


def _short(value: float) -> str:
    """Return a number with two or three digits; a large one with all before the point."""
    return f"{value:,.0f}" if value >= 100 or not value else f"{value:.2g}"
