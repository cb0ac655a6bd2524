"""Where a training step that is not finite begins to be so: the step again, one operation after another.

`jax.experimental.checkify` would be shorter, but sees NaN alone and not the Inf that mostly comes before it, names no
Flax module, and also reports what a `jnp.where` discards.
"""

import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core

from vqjax.ops import axes
from vqjax.runs import finite
from vqjax.runs.devices import DeviceLayout
from vqjax.runs.state import TrainState

_PACKAGE = Path(__file__).resolve().parent.parent


class Cause(NamedTuple):
    """The first operation with a result that is not finite, of operands that all are.

    Attributes:
      operation: what JAX calls it.
      module: the Flax modules around it, in the forward or the backward pass, or "".
      place: file, line and function, or "".
      operands: shape and range of each.
    """

    operation: str
    module: str
    place: str
    operands: tuple[str, ...]

    def __str__(self) -> str:
        where = f" in {self.module}" if self.module else ""
        place = f"\n  at {self.place}" if self.place else ""
        operands = f"\n  of {', '.join(self.operands)}" if self.operands else ""
        return self.operation + where + place + operands


class _Value(NamedTuple):
    """A value of a program, and why it is not finite, or None."""

    value: Any
    cause: Cause | None


def find_causes(function: Callable, **arguments: Any) -> Any:
    """The function's results, each leaf replaced by the Cause for which it is not finite, or by None.

    Args:
      function: traceable, of trees of arrays.
      **arguments: its, by position; their names are the causes where they are not finite themselves.
    """
    closed, shape = jax.make_jaxpr(function, return_shape=True)(*arguments.values())
    values = []
    named = [{name: each} for name, each in arguments.items()]  # one by one: a dict of all is sorted
    for path, leaf in jax.tree_util.tree_flatten_with_path(named)[0]:
        name = jax.tree_util.keystr(path[1:], simple=True, separator="/")
        values.append(_Value(leaf, None if _finite(leaf) else Cause(f"{name} as it was given", "", "", ())))
    found = [value.cause for value in _results(closed.jaxpr, closed.consts, values, "")]
    return jax.tree.unflatten(jax.tree.structure(shape), found)


def watch_steps(update: Callable, step: Callable, program: DeviceLayout) -> Callable:
    """The compiled step, which raises Diverged, with the cause, as soon as a step is not finite.

    Args:
      update: the compiled step, guarded: it leaves the state as it was.
      step: what it was made of, not guarded, with the metrics second.
      program: that compiled it.
    """

    def watch(state: Any, batch: Any) -> tuple[Any, Any]:
        state, metrics = update(state, batch)
        if program.collect(metrics["skipped"]):
            raise finite.Diverged(_explanation(step, program, program.collect(state), program.gather(batch)))
        return state, metrics

    return watch


def _explanation(step: Callable, program: DeviceLayout, after: TrainState, batch: Mapping) -> str:
    """Explain a step that left the state as it was but for its number; all on the host."""
    state, devices = after._replace(step=after.step - 1), len(program.devices)
    shares = {name: x.reshape(devices, -1, *x.shape[1:]) for name, x in batch.items()}
    new, metrics = find_causes(jax.vmap(step, (None, 0), axis_name=axes.BATCH), state=state, batch=shares)
    found = jax.tree.leaves((metrics, new), is_leaf=lambda x: isinstance(x, Cause))
    cause = str(found[0]) if found else "done again, one operation after another, it is finite"
    return f"step {after.step:,} is not finite: {cause}"


def _results(jaxpr: core.Jaxpr, consts: Sequence[Any], values: Sequence[_Value], module: str) -> list[_Value]:
    """Run a program, one operation after another; inside the calls of other programs too, loops apart."""
    known = {variable: _Value(const, None) for variable, const in zip(jaxpr.constvars, consts)}
    known |= dict(zip(jaxpr.invars, values))
    for equation in jaxpr.eqns:
        given = [_Value(x.val, None) if isinstance(x, core.Literal) else known[x] for x in equation.invars]
        inside = "/".join(filter(None, [module, str(equation.source_info.name_stack)]))
        called, given = _called(equation, given)
        if called is None:
            found = _done(equation, given, inside)
        else:
            found = _results(called.jaxpr, called.consts, given, inside)
        known |= dict(zip(equation.outvars, found))
    return [_Value(x.val, None) if isinstance(x, core.Literal) else known[x] for x in jaxpr.outvars]


def _called(equation: core.JaxprEqn, given: list[_Value]) -> tuple[core.ClosedJaxpr | None, list[_Value]]:
    """The program that an operation is a mere call, or the choice, of, and what is given to it, of all that is given.

    What a platform has is chosen so, too.
    """
    if branches := equation.params.get("branches"):
        which, *rest = given
        return branches[np.clip(which.value, 0, len(branches) - 1)], rest
    for name in ("jaxpr", "call_jaxpr", "fun_jaxpr"):
        inner = equation.params.get(name)
        inner = core.ClosedJaxpr(inner, ()) if isinstance(inner, core.Jaxpr) else inner
        if isinstance(inner, core.ClosedJaxpr) and len(inner.jaxpr.invars) == len(equation.invars):
            return None if equation.primitive.name in ("scan", "while") else inner, given
    return None, given


def _done(equation: core.JaxprEqn, given: Sequence[_Value], module: str) -> list[_Value]:
    """The results of one operation."""
    parameters = equation.primitive.get_bind_params(equation.params)
    results = equation.primitive.bind(*(each.value for each in given), **parameters)
    results = results if equation.primitive.multiple_results else [results]
    if all(map(_finite, results)):
        return [_Value(x, None) for x in results]
    cause = next((each.cause for each in given if each.cause), None) or _cause(equation, given, module)
    return [_Value(x, None if _finite(x) else cause) for x in results]


def _cause(equation: core.JaxprEqn, given: Sequence[_Value], module: str) -> Cause:
    frames: Any = equation.source_info.traceback.frames if equation.source_info.traceback else ()
    own = [frame for frame in frames if Path(frame.file_name).is_relative_to(_PACKAGE)]  # the innermost first
    place = f"{os.path.relpath(own[0].file_name)}:{own[0].line_num} ({own[0].function_name})" if own else ""
    operands = [np.asarray(each.value) for each in given if jnp.issubdtype(each.value.dtype, np.number)]
    shown = [f"{x.dtype}{list(x.shape)} from {x.min():.4g} to {x.max():.4g}" for x in operands if x.size]
    return Cause(equation.primitive.name, _readable(module), place, tuple(shown[:3]))


def _readable(module: str) -> str:
    """vmap(jvp(Net))/Net.encode/encoder/Conv_0 -> the forward pass of Net/encoder/Conv_0."""
    names = re.sub(r"\w+\(|\)", "", module).split("/")
    inside = "/".join(name for name in names if name and "." not in name)  # the others are methods
    return f"the {'backward' if 'transpose(' in module else 'forward'} pass of {inside}" if inside else ""


def _finite(value: Any) -> bool:
    return bool(finite.all_finite(value))
