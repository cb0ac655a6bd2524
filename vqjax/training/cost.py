"""Cost of a program of one device, counted over its jaxpr: products, memory traffic, live memory, communication."""

import collections
import dataclasses
import math
from collections.abc import Iterator, Mapping
from typing import Any

from jax.extend import core

# Operations that compilers fuse into their neighbors: their results need not be written to memory.
_FUSED = frozenset(
    "abs add add_any and broadcast_in_dim ceil clamp convert_element_type copy cos custom_jvp_call div eq erf exp exp2 "
    "expand_dims expm1 floor ge gt integer_pow iota is_finite le log log1p logistic lt max min mul ne neg not or "
    "pow random_bits random_wrap random_unwrap reshape round rsqrt select_and_scatter_add select_n sign sin slice sqrt "
    "square squeeze stop_gradient sub tanh transpose xor shift_right_logical shift_left bitcast_convert_type".split()
)
_COLLECTIVES = {"psum": 2.0, "pmax": 2.0, "pmin": 2.0, "all_gather": 1.0, "reduce_scatter": 1.0, "all_to_all": 1.0}


@dataclasses.dataclass(frozen=True)
class Collective:
    """A collective operation of a program.

    Attributes:
      name: of the primitive.
      bytes: that a device would send in an endless ring: twice the data for a sum, the result for a gather. In a ring
        of N devices it is (N - 1) / N of that, see `rates.Cluster.sent`.
      conditional: whether it is inside a branch that need not be taken.
    """

    name: str
    bytes: float
    conditional: bool


@dataclasses.dataclass(frozen=True)
class Cost:
    """Cost of a program.

    Attributes:
      flops: of its products and convolutions, a multiplication and an addition each.
      traffic: bytes read and written, (least, most): with all fusible operations fused, and with none.
      live: bytes of intermediate results at the worst moment, (least, most), likewise.
      operations: number of those that are not fused: a GPU starts a kernel for each.
      collectives: in order.
    """

    flops: float
    traffic: tuple[float, float]
    live: tuple[float, float]
    operations: float
    collectives: tuple[Collective, ...]

    def communication(self, conditional: bool = False) -> float:
        """Bytes that a device sends in a step, with or without the branches that need not be taken."""
        return sum(each.bytes for each in self.collectives if conditional or not each.conditional)


def count(closed: core.ClosedJaxpr) -> Cost:
    """Count the cost of a program whose arguments are donated; of one under `shard_map` that of a device."""
    jaxpr = closed.jaxpr
    while len(jaxpr.eqns) == 1 and (inner := _called(jaxpr.eqns[0])):
        jaxpr = inner
    totals = _Totals()
    totals.add(jaxpr, 1.0, False)
    traffic = totals.read[0], totals.read[1]
    return Cost(totals.flops, traffic, _live(jaxpr, donated=True), totals.operations, tuple(totals.collectives))


class _Totals:
    """Sums over the equations of a program and of those that it calls."""

    def __init__(self) -> None:
        self.flops, self.read, self.operations = 0.0, [0.0, 0.0], 0.0
        self.collectives: list[Collective] = []

    def add(self, jaxpr: core.Jaxpr, times: float, conditional: bool) -> None:
        """Add a program that runs so many times, maybe in a branch."""
        kept = _materialized(jaxpr)
        for equation in jaxpr.eqns:
            name, inner = equation.primitive.name, [*_inner(equation)]
            if inner:
                self._add_inner(equation, inner, times, conditional)
                continue
            self.flops += times * _flops(equation)
            size = sum(map(_bytes, equation.invars)) + sum(map(_bytes, equation.outvars))
            self.read[1] += times * size
            if name not in _FUSED:
                self.operations += times
                self.read[0] += times * size
            elif any(var in kept for var in equation.outvars):
                self.read[0] += times * sum(map(_bytes, equation.outvars))
            if name in _COLLECTIVES:
                self.collectives += [_collective(equation, conditional)] * max(1, round(times))

    def _add_inner(self, equation: core.JaxprEqn, inner: list[core.Jaxpr], times: float, conditional: bool) -> None:
        name, length = equation.primitive.name, equation.params.get("length", 1)
        if name == "cond":
            branches = []
            for branch in inner:
                part = _Totals()
                part.add(branch, times, True)
                branches.append(part)
            dearest = max(branches, key=lambda part: (part.flops, part.read[1]))
            self.flops += dearest.flops
            self.operations += dearest.operations
            self.read = [before + more for before, more in zip(self.read, dearest.read)]
            self.collectives += [each for part in branches for each in part.collectives]
            return
        for jaxpr in inner:
            self.add(jaxpr, times * (length if name == "scan" else 1), conditional or name == "while")


def _inner(equation: core.JaxprEqn) -> Iterator[core.Jaxpr]:
    """Programs that an equation calls; of a function with its own gradient the function alone."""
    for value in equation.params.values():
        for part in value if isinstance(value, tuple | list) else (value,):
            if isinstance(part, core.ClosedJaxpr):
                yield part.jaxpr
            elif isinstance(part, core.Jaxpr):
                yield part


def _called(equation: core.JaxprEqn) -> core.Jaxpr | None:
    """The program of an equation that is a mere call."""
    inner = [*_inner(equation)]
    return inner[0] if len(inner) == 1 and equation.primitive.name in ("jit", "pjit", "shard_map") else None


def _bytes(var: Any) -> float:
    """Size of a value."""
    aval = var.aval
    return float(math.prod(getattr(aval, "shape", ())) * getattr(getattr(aval, "dtype", None), "itemsize", 0))


def _flops(equation: core.JaxprEqn) -> float:
    """FLOPs of a product or a convolution; 0 of anything else."""
    if equation.primitive.name == "dot_general":
        (contracted, _), _ = equation.params["dimension_numbers"]
        left: Any = equation.invars[0].aval
        result: Any = equation.outvars[0].aval
        return 2.0 * math.prod(result.shape) * math.prod(left.shape[axis] for axis in contracted)
    if equation.primitive.name == "conv_general_dilated":
        kernel: Any = equation.invars[1].aval
        result = equation.outvars[0].aval
        numbers = equation.params["dimension_numbers"]
        spatial = math.prod(kernel.shape[axis] for axis in numbers.rhs_spec[2:])
        dilation = math.prod(equation.params["lhs_dilation"])  # zeros between the inputs are no work
        return 2.0 * math.prod(result.shape) * spatial * kernel.shape[numbers.rhs_spec[1]] / dilation
    return 0.0


def _collective(equation: core.JaxprEqn, conditional: bool) -> Collective:
    name = equation.primitive.name
    size = sum(map(_bytes, equation.outvars))
    return Collective(name, _COLLECTIVES[name] * size, conditional)


def _materialized(jaxpr: core.Jaxpr) -> set[Any]:
    """Results that must be in memory: operands of what is not fused, and what the program returns."""
    operands = {
        var
        for equation in jaxpr.eqns
        if equation.primitive.name not in _FUSED
        for var in equation.invars
        if not isinstance(var, core.Literal)
    }
    return operands | {var for var in jaxpr.outvars if not isinstance(var, core.Literal)}


def _live(jaxpr: core.Jaxpr, donated: bool = False) -> tuple[float, float]:
    """Bytes of intermediate results at the worst moment, with fusion and without.

    The results of a program whose arguments are `donated` lie where these were, and are not counted.
    """
    last: dict[Any, int] = {}
    for number, equation in enumerate(jaxpr.eqns):
        last |= {var: number for var in equation.invars if not isinstance(var, core.Literal)}
    last |= {var: len(jaxpr.eqns) for var in jaxpr.outvars if not isinstance(var, core.Literal)}
    kept, own = _materialized(jaxpr), {*jaxpr.invars, *jaxpr.constvars}
    results = {var for var in jaxpr.outvars if not isinstance(var, core.Literal)}
    if donated:
        own |= results
    ends: Mapping[int, list[Any]] = collections.defaultdict(list)
    for var, number in last.items():
        if var not in own:
            ends[number].append(var)
    now, peak, written = [0.0, 0.0], [0.0, 0.0], set[Any]()
    for number, equation in enumerate(jaxpr.eqns):
        inside = [_live(inner) for inner in _inner(equation)] or [(0.0, 0.0)]
        peak = [max(peak[i], now[i] + max(part[i] for part in inside)) for i in (0, 1)]
        fused = equation.primitive.name in _FUSED
        written |= {var for var in equation.outvars if not fused or var in kept}
        for var in equation.outvars:
            if var in last and var not in own:
                now[1] += _bytes(var)
                now[0] += _bytes(var) if var in written else 0.0
        peak = [max(before, after) for before, after in zip(peak, now)]
        for var in ends[number]:
            now[1] -= _bytes(var)
            now[0] -= _bytes(var) if var in written else 0.0
    return peak[0], peak[1]
