"""Shows what JAX computes on in each process, and whether they agree: `vqjax devices --help`."""

from collections.abc import Iterator
from typing import Any

from vqjax.commands.report import Report
from vqjax.system import cluster
from vqjax.system.arguments import Parser, add_output_flags
from vqjax.system.terminal import starting_jax


def parser() -> Parser:
    """Return the parser of the command's arguments."""
    description = "Show what JAX computes on in each process; the exit status is 3 if the processes disagree."
    arguments = Parser("devices", "--distributed", description=description)
    arguments.add_options(cluster.FLAGS)
    add_output_flags(arguments)
    return arguments


def run(given: Any) -> Report | int:
    """Show it."""
    spec = cluster.cluster_spec(*(getattr(given, name) for name in cluster.FLAGS))
    with starting_jax(spec is None or spec.process < 1):
        from vqjax.runs.devices import processes, survey

    reports: list[Report] = []

    def look() -> int:
        found = survey.survey()
        status = 3 if found.problems else 0
        if processes.is_leader():  # all would say the same
            reports.append(Report([*_lines(found)], {**found._asdict(), "agree": not found.problems}, status))
        return status

    status = processes.run(spec, look)
    return reports[0] if reports else status


def _lines(found: Any) -> Iterator[str]:
    """Yield the facts of each process, then the problems or that there are none."""
    for number, facts in enumerate(found.processes):
        memory = f", {facts['memory'] / 2**30:.1f} GiB each" if facts["memory"] else ""
        yield (
            f"process {number} of {len(found.processes)} on {facts['host']}: {facts['local_devices']} x {facts['kind']}"
            f"{memory}; {facts['cores']} cores, jax {facts['jax']}, vqjax {facts['vqjax']}"
        )
    yield f"a sum over all {found.processes[0]['devices']} devices took {found.seconds:.1f} s"
    yield from (f"problem: {line}" for line in found.problems)
    if not found.problems:
        yield "the processes agree" if len(found.processes) > 1 else "no problem found"
