import importlib

import jax.numpy as jnp
import numpy as np
import optax
import pytest

from vqjax.config.check import Section
from vqjax.config.loading import config_names, configs_directory, load_config
from vqjax.system.errors import InputError
from vqjax.training import optimizers

PARAMS = {
    "encoder": {"kernel": jnp.array([[3.0, 4.0]]), "bias": jnp.array([1.0])},
    "quantizer": {"codebook": jnp.array([[1.0]])},
}


@pytest.fixture(autouse=True)
def one_rate(small_config):
    small_config.optimizer.codebook_rate = 1.0


def created(config):
    """The optimizer and the learning rate of a run."""
    return optimizers.create_optimizer(Section.of(config, "config.optimizer"), config.steps)


def updates(config, gradient, steps=1):
    optimizer, _ = created(config)
    params, state = PARAMS, optimizer.init(PARAMS)
    for _ in range(steps):
        delta, state = optimizer.update(gradient, state, params)
        params = optax.apply_updates(params, delta)
    return delta


@pytest.mark.parametrize("schedule, middle", [("constant", 1.0), ("linear", 0.55), ("cosine", 0.55)])
def test_learning_rates_by_hand(small_config, schedule, middle):
    small_config.steps = 110
    small_config.optimizer.update(
        {"schedule": schedule, "warmup": 10, "learning_rate": 1.0, "final_learning_rate": 0.1}
    )
    _, rate = created(small_config)
    np.testing.assert_allclose([rate(0), rate(5), rate(10), rate(60)], [0, 0.5, 1, middle], atol=1e-6)
    np.testing.assert_allclose(rate(110), {"constant": 1.0}.get(schedule, 0.1), atol=1e-6)


@pytest.mark.parametrize("steps, warmup", [(600, 100), (60, 10), (4, 1), (1, 0)])
def test_a_share_of_the_steps_is_as_many_steps(small_config, steps, warmup):
    small_config.steps = steps
    small_config.optimizer.update({"schedule": "cosine", "warmup_share": 1 / 6})
    shared = created(small_config)[1](jnp.arange(steps))
    small_config.optimizer.update({"warmup": warmup, "warmup_share": 0.0})
    np.testing.assert_array_equal(shared, created(small_config)[1](jnp.arange(steps)))


def test_the_longest_warmup_leaves_a_step(small_config):
    small_config.steps = 3
    small_config.optimizer.update({"warmup_share": 0.99, "learning_rate": 1.0})
    np.testing.assert_allclose(created(small_config)[1](jnp.arange(3)), [0, 0.5, 1])


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"warmup": 2, "warmup_share": 0.5}, "warmup=2 and config.optimizer.warmup_share=0.5: expected one of them"),
        ({"warmup": 6}, "warmup=6: expected less than config.steps=6, or --config.optimizer.warmup_share, a share"),
        ({"warmup_share": 1.0}, "warmup_share=1.0: expected at least 0 and at most 0.99"),
    ],
)
def test_a_warmup_that_cannot_be_is_refused(small_config, fields, message):
    small_config.optimizer.update(fields)
    with pytest.raises(InputError, match=f"config.optimizer.{message}"):
        created(small_config)


@pytest.mark.parametrize("name", [name for name in config_names() if not name.startswith("ablation/")])
def test_every_config_has_a_rate_for_a_run_of_few_steps(name):
    """With `--config.steps=60` alone, and each variant."""
    file = configs_directory() / f"{name}.py"
    module = vars(importlib.import_module(f"configs.{name}"))
    for variant in ["", *module.get("VARIANTS", ()), *module.get("SIZES", ())]:
        config = load_config(file, variant)
        config.steps = 60
        rates = np.broadcast_to(created(config)[1](jnp.arange(60)), 60)
        assert np.isfinite(rates).all() and max(rates) == pytest.approx(config.optimizer.learning_rate)


@pytest.mark.parametrize("name", optimizers.OPTIMIZERS)
def test_only_kernels_decay_and_not_under_every_optimizer(small_config, name):
    decays = {"adamw": {"weight_decay": 0.5}, "sgd": {"weight_decay": 0.5, "momentum": 0.0, "nesterov": False}}
    small_config.optimizer.update({"name": name, "learning_rate": 0.1, **decays})
    zeros = {
        "encoder": {"kernel": jnp.zeros((1, 2)), "bias": jnp.zeros(1)},
        "quantizer": {"codebook": jnp.zeros((1, 1))},
    }
    delta = updates(small_config, zeros)
    np.testing.assert_allclose(delta["encoder"]["kernel"], [[-0.15, -0.2]] if name in decays else [[0, 0]], rtol=1e-6)
    assert delta["encoder"]["bias"] == 0 and delta["quantizer"]["codebook"] == 0


@pytest.mark.parametrize("name", [name for name in optimizers.OPTIMIZERS if name != "sgd"])
def test_the_first_step_is_the_learning_rate_and_the_codebook_has_its_own(small_config, name):
    small_config.optimizer.update(
        {"name": name, "learning_rate": 0.1, "codebook_rate": 5.0, "adamw": {"weight_decay": 0.0}}
    )
    delta = updates(small_config, PARAMS)
    np.testing.assert_allclose(delta["encoder"]["kernel"], [[-0.1, -0.1]], rtol=1e-5)
    np.testing.assert_allclose(delta["quantizer"]["codebook"], [[-0.5]], rtol=1e-5)


@pytest.mark.parametrize("nesterov, second", [(False, -0.19), (True, -0.271)])
def test_momentum_by_hand(small_config, nesterov, second):
    """v = g, then 0.9 g + g; the step is -0.1 v, or with Nesterov's -0.1 (g + 0.9 v). The codebook's gradient is 1."""
    small_config.optimizer.update({"name": "sgd", "learning_rate": 0.1, "codebook_rate": 1.0})
    small_config.optimizer.sgd.update({"momentum": 0.9, "nesterov": nesterov})
    optimizer, _ = created(small_config)
    gradient = {"encoder": PARAMS["encoder"], "quantizer": {"codebook": jnp.ones((1, 1))}}
    state, steps = optimizer.init(PARAMS), []
    for _ in range(2):
        delta, state = optimizer.update(gradient, state, PARAMS)
        steps.append(float(delta["quantizer"]["codebook"][0, 0]))
    assert steps == pytest.approx([-0.19 if nesterov else -0.1, second], rel=1e-5)


def test_amsgrad_remembers_the_largest_gradient(small_config):
    """After a large gradient and many small ones Adam steps on, AMSGrad is held back."""
    steps = {}
    for name in ("adam", "amsgrad"):
        small_config.optimizer.update({"name": name, "learning_rate": 1.0})
        small_config.optimizer[name].update({"b1": 0.0, "b2": 0.5})
        optimizer, _ = created(small_config)
        state = optimizer.init(PARAMS)
        for scale in (100.0,) + (1.0,) * 30:
            gradient = {"encoder": PARAMS["encoder"], "quantizer": {"codebook": jnp.array([[scale]])}}
            delta, state = optimizer.update(gradient, state, PARAMS)
        steps[name] = float(delta["quantizer"]["codebook"][0, 0])
    assert steps["adam"] == pytest.approx(-1, rel=0.01)
    assert steps["amsgrad"] == pytest.approx(-1 / np.sqrt(0.5 * 100**2), rel=0.01)


def test_clipping_bounds_the_global_norm(small_config):
    small_config.optimizer.clip_norm = 1.0
    optimizer, _ = created(small_config)
    clipped, plain = optimizer.init(PARAMS), optimizer.init(PARAMS)
    norm = float(optax.tree.norm(PARAMS))
    scaled = {k: {n: v / norm for n, v in part.items()} for k, part in PARAMS.items()}
    _, clipped = optimizer.update(PARAMS, clipped, PARAMS)
    _, plain = optimizer.update(scaled, plain, PARAMS)
    np.testing.assert_allclose(
        optax.tree_utils.tree_get(clipped, "mu")["encoder"]["kernel"],
        optax.tree_utils.tree_get(plain, "mu")["encoder"]["kernel"],
        rtol=1e-6,
    )


def test_an_exponential_to_zero_is_refused(small_config):
    small_config.optimizer.update({"schedule": "exponential", "final_learning_rate": 0.0})
    with pytest.raises(InputError, match=r"^config.optimizer.schedule: an exponential from .*: expected both greater"):
        created(small_config)
