"""The functions that are compiled for training. Each is written for one device's share of the global batch."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

from vqjax.ops import axes
from vqjax.ops.select import select_tree
from vqjax.runs import finite
from vqjax.runs.state import TrainState
from vqjax.tasks.base import Task, example_keys
from vqjax.training.microbatch import microbatched


def _reset_moments(optimizer: optax.GradientTransformation, opt_state: Any, old: Any, new: Any) -> Any:
    """Set the moments of the parameters that `after_update` has replaced to 0."""

    def reset(moment, before, after):
        return moment if after is before else jnp.where(before == after, moment, 0)

    return optax.tree_utils.tree_map_params(optimizer, reset, opt_state, old, new)


def _skip_if_not_finite(
    old: TrainState, new: TrainState, loss: jax.Array, norm: jax.Array
) -> tuple[TrainState, jax.Array]:
    """The new state and False; or, if it, the loss or the gradients' norm is not finite, the old one and True.

    All are of the global batch, so that every device decides alike.
    """
    # What the optimizer keeps is finite where gradients are whose norm is: means or sums of them and their squares.
    good = jnp.isfinite(loss) & jnp.isfinite(norm) & finite.finite_norm(new.variables)
    kept = select_tree(good, new, old)
    consecutive_skips = jnp.where(
        good & (old.consecutive_skips < finite.MAX_SKIPPED_IN_A_ROW), 0, old.consecutive_skips + 1
    )
    return kept._replace(step=new.step, skipped=old.skipped + ~good, consecutive_skips=consecutive_skips), ~good


def prepare_step(task: Task, key: jax.Array) -> Callable:
    """Return ((step, task.frozen), batch) -> batch: `task.prepare` with the key of the step."""
    return lambda fixed, batch: task.prepare(batch, jax.random.fold_in(key, fixed[0]), fixed[1])


def gradient_step(task: Task) -> Callable:
    """Return (params, extra, step, key, batch) -> ((gradients, extra, metrics, loss), vectors), of one device's batch.

    The first four are means over the batch; `vectors` are those that `task.after_update` takes.
    """

    def loss_of(params: Any, extra: Mapping, step: jax.Array, key: jax.Array, batch: Mapping) -> tuple[jax.Array, Any]:
        progress, keys = step / task.settings.steps, example_keys(batch, key)
        output, extra = task.apply({"params": params, **extra}, batch, True, progress, keys)
        loss, metrics = task.loss(output, batch)
        return loss, (extra, metrics, getattr(output, "vectors", ()))

    def gradients(params: Any, extra: Mapping, step: jax.Array, key: jax.Array, batch: Mapping) -> tuple[Any, Any]:
        value_and_gradients = jax.value_and_grad(loss_of, has_aux=True)
        (loss, (*means, vectors)), grads = value_and_gradients(params, extra, step, key, batch)
        return (grads, *means, loss), vectors

    return gradients


def train_step(
    task: Task,
    optimizer: optax.GradientTransformation,
    schedule: Callable,
    update_key: jax.Array,
    noise_key: jax.Array,
    *,
    microbatches: int = 1,
    guarded: bool = True,
) -> Callable:
    """Return (state, batch) -> (state, metrics): one update, the same on every device.

    The metrics are means over the global batch. A `guarded` step that is not finite changes nothing: `skipped` is 1.
    """
    gradients = gradient_step(task)

    def step(state: TrainState, batch: Mapping) -> tuple[TrainState, dict[str, jax.Array]]:
        noise = jax.random.fold_in(noise_key, state.step)

        @jax.jit  # traced once for microbatches of the same shape
        def of_batch(batch: Mapping) -> tuple[Any, Any]:
            return gradients(state.params, state.extra, state.step, noise, batch)

        means, vectors = microbatched(of_batch, batch, microbatches)
        grads, extra, metrics, loss = jax.lax.pmean(means, axes.BATCH)
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        key = jax.random.fold_in(update_key, state.step)
        variables = {"params": params, **state.extra, **extra}
        variables = dict(task.after_update(variables, vectors, _gather, state.step, key))
        changed = variables.pop("params")
        opt_state = _reset_moments(optimizer, opt_state, params, changed)
        metrics["gradient_norm"] = finite.global_norm(grads)
        metrics["learning_rate"] = jnp.asarray(schedule(state.step - state.skipped), jnp.float32)
        new = state._replace(step=state.step + 1, params=changed, extra=variables, opt_state=opt_state)
        if guarded:
            new, metrics["skipped"] = _skip_if_not_finite(state, new, loss, metrics["gradient_norm"])
        return new, metrics

    return step


def _gather(x: jax.Array) -> jax.Array:
    """Gather the global batch's rows of an array (B, ...) on every device."""
    return jax.lax.all_gather(x, axes.BATCH, tiled=True)


def eval_step(task: Task) -> Callable:
    """(variables, batch) -> (sums, count) over the real examples of the global batch.

    The task's metrics are means over a batch; here each is taken of every example on its own, which in
    evaluation does not depend on the others, so that padding can be left out exactly.
    """

    def step(variables: Mapping, batch: Mapping) -> tuple[dict[str, jax.Array], jax.Array]:
        def of_one(example):
            alone = jax.tree.map(lambda x: x[None], example)
            output = task.apply_eval(variables, alone)
            return {**task.loss(output, alone)[1], **task.eval_metrics(variables, output, alone)}

        real = batch["real"]

        def sum_of_real(values):  # (B, ...) -> (...)
            return jnp.tensordot(real.astype(values.dtype), values, axes=1, precision=jax.lax.Precision.HIGHEST)

        sums = jax.tree.map(sum_of_real, jax.vmap(of_one)(batch))
        return jax.lax.psum((sums, real.sum()), axes.BATCH)

    return step
