"""The functions that are compiled for training. Each is written for one device's share of the global batch."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

from vqjax.ops import axes
from vqjax.ops.platforms import by_platform
from vqjax.runs import finite
from vqjax.runs.state import TrainState
from vqjax.tasks.base import Task
from vqjax.training import microbatch


def _reset_moments(optimizer: optax.GradientTransformation, opt_state: Any, old: Any, new: Any) -> Any:
    """Zeroes the moments of the parameters that a refresh has replaced."""

    def reset(moment, before, after):
        return moment if after is before else jnp.where(before == after, moment, 0)

    return optax.tree_utils.tree_map_params(optimizer, reset, opt_state, old, new)


def _select_whole(good: jax.Array, new: Any, old: Any) -> Any:
    """One of two trees, whole. With a choice at each leaf, XLA on CPU compiles a deep network for minutes."""
    return jax.lax.cond(good, lambda new, old: new, lambda new, old: old, new, old)


def _select_leaves(good: jax.Array, new: Any, old: Any) -> Any:
    """One of two trees, chosen at each leaf: an accelerator's host does not wait for what is chosen."""
    return jax.tree.map(lambda after, before: jnp.where(good, after, before), new, old)


def _skip_if_not_finite(
    old: TrainState, new: TrainState, loss: jax.Array, norm: jax.Array
) -> tuple[TrainState, jax.Array]:
    """The new state and False; or, if it, the loss or the gradients' norm is not finite, the old one and True.

    All are of the global batch, so that every device decides alike.
    """
    # What the optimizer keeps is finite where gradients are whose norm is: means or sums of them and their squares.
    good = jnp.isfinite(loss) & jnp.isfinite(norm) & finite.finite_norm(new.variables)
    kept = by_platform(good, new, old, cpu=_select_whole, default=_select_leaves)
    consecutive_skips = jnp.where(
        good & (old.consecutive_skips < finite.MAX_SKIPPED_IN_A_ROW), 0, old.consecutive_skips + 1
    )
    return kept._replace(step=new.step, skipped=old.skipped + ~good, consecutive_skips=consecutive_skips), ~good


def prepare_step(task: Task, key: jax.Array) -> Callable:
    """((step, task.frozen), batch) -> batch: `task.prepare` with the key of the step."""
    return lambda fixed, batch: task.prepare(batch, jax.random.fold_in(key, fixed[0]), fixed[1])


def train_step(
    task: Task,
    optimizer: optax.GradientTransformation,
    schedule: Callable,
    refresh_key: jax.Array,
    noise_key: jax.Array,
    *,
    guarded: bool = True,
) -> Callable:
    """(state, batch) -> (state, metrics): one update, the same on every device.

    The metrics are means over the global batch; `skipped` says whether the step was not finite and changed nothing.
    One that is not `guarded` changes the state whatever comes of it, and takes its batch in one piece, so that its
    operations lie open, and not in a loop.
    """

    def step(state: TrainState, batch: Mapping) -> tuple[TrainState, dict[str, jax.Array]]:
        noise = jax.random.fold_in(noise_key, state.step)

        def loss_of(params, piece):
            output, extra = task.apply_train({"params": params, **state.extra}, piece, state.step, noise)
            loss, metrics = task.loss(output, piece)
            return loss, (extra, metrics, task.vectors(output))

        @jax.jit  # for nothing but that it is traced once for batches of the same shape
        def gradients(piece):
            (loss, (*means, vectors)), grads = jax.value_and_grad(loss_of, has_aux=True)(state.params, piece)
            return (grads, *means, loss), vectors

        count = (
            microbatch.num_microbatches(task.config.get("microbatch", 0), gradients, batch, state.extra)
            if guarded
            else 1
        )
        means, vectors = microbatch.microbatched(gradients, batch, count)
        grads, extra, metrics, loss = jax.lax.pmean(means, axes.BATCH)
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)

        def gather(x):
            return jax.lax.all_gather(x, axes.BATCH, tiled=True)

        key = jax.random.fold_in(refresh_key, state.step)
        variables = dict(
            task.after_update({"params": params, **state.extra, **extra}, vectors, gather, state.step, key)
        )
        refreshed = variables.pop("params")
        opt_state = _reset_moments(optimizer, opt_state, params, refreshed)
        metrics["gradient_norm"] = finite.global_norm(grads)
        metrics["learning_rate"] = jnp.asarray(schedule(state.step - state.skipped), jnp.float32)
        new = state._replace(step=state.step + 1, params=refreshed, extra=variables, opt_state=opt_state)
        if guarded:
            new, metrics["skipped"] = _skip_if_not_finite(state, new, loss, metrics["gradient_norm"])
        return new, metrics

    return step


def eval_step(task: Task) -> Callable:
    """(variables, batch) -> (sums, count) over the real examples of the global batch.

    The task's metrics are means over a batch; here each is taken of every example on its own, which in
    evaluation does not depend on its neighbours, so that padding can be left out exactly.
    """

    def step(variables: Mapping, batch: Mapping) -> tuple[dict[str, jax.Array], jax.Array]:
        def of_one(example):
            alone = jax.tree.map(lambda x: x[None], example)
            output = task.apply_eval(variables, alone)
            return {**task.loss(output, alone)[1], **task.eval_metrics(output, alone)}

        real = batch["real"]

        def sum_of_real(values):  # (B, ...) -> (...)
            return jnp.tensordot(real.astype(values.dtype), values, axes=1, precision=jax.lax.Precision.HIGHEST)

        sums = jax.tree.map(sum_of_real, jax.vmap(of_one)(batch))
        return jax.lax.psum((sums, real.sum()), axes.BATCH)

    return step
