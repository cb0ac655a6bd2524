"""Settings of JAX and of the environment that are not ours: the same results, or a line that names them."""

import jax
import numpy as np
import pytest
from conftest import slow_but
from helpers import ENVIRONMENT, TINY, command

import vqjax
from vqjax.system import switches

pytest_plugins = "inference_fixtures"

IMAGES = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 1), np.uint8)
OPTIONS = [
    ("jax_enable_x64", True),
    ("jax_disable_jit", True),
    ("jax_numpy_dtype_promotion", "strict"),
    ("jax_numpy_rank_promotion", "raise"),
]


@pytest.fixture(params=OPTIONS, ids=[name for name, _ in OPTIONS])
def option(request):
    """One of JAX's options at a value that is not its default."""
    name, value = request.param
    before = getattr(jax.config, name)
    jax.config.update(name, value)
    yield name, value
    jax.config.update(name, before)


def results(tokenizer):
    """What a model makes of images, arrays."""
    codes = tokenizer.encode(IMAGES)
    return codes, tokenizer.decode(codes), tokenizer.reconstruct(IMAGES), tokenizer.codebook


@pytest.fixture(scope="module")
def expected(runs):
    return results(vqjax.Tokenizer.load(runs / "tokenizer"))


def test_every_option_is_tried():
    assert {name for name, _ in OPTIONS} == {*switches._NEEDED}


def test_a_model_computes_the_same_under_any_option(expected, option, runs):
    """The option is the caller's own again afterwards."""
    name, value = option
    for array, other in zip(results(vqjax.Tokenizer.load(runs / "tokenizer")), expected):
        np.testing.assert_array_equal(array, other)
        assert array.dtype == other.dtype
    assert getattr(jax.config, name) == value


@pytest.mark.more
def test_a_run_is_the_same_under_any_option(option, small_config, trained_stage1, tmp_path):
    result = vqjax.train(small_config, tmp_path / "run", quiet=True)
    assert result.status == 0
    for name in ("metrics.jsonl", "eval.json"):
        assert (tmp_path / "run" / name).read_text() == (trained_stage1 / name).read_text()


@pytest.mark.parametrize(
    "name, text, instead",
    [
        ("JAX_ENABLE_X64", "1", "0"),
        ("JAX_ENABLE_X64", "true", "0"),
        ("JAX_ENABLE_X64", "off", ""),
        ("JAX_DISABLE_JIT", "1", "0"),
        (
            "JAX_NUMPY_DTYPE_PROMOTION",
            "strict",
            "standard",
        ),
        (
            "JAX_NUMPY_RANK_PROMOTION",
            "raise",
            "allow",
        ),
        ("JAX_NUMPY_RANK_PROMOTION", "allow", ""),
        ("JAX_TRANSFER_GUARD", "disallow", "allow"),
        ("JAX_TRANSFER_GUARD_DEVICE_TO_HOST", "log", "allow"),
        ("JAX_DEBUG_NANS", "1", ""),
    ],
)
def test_a_switch_is_named_before_jax_starts(monkeypatch, capsys, name, text, instead):
    monkeypatch.setenv(name, text)
    switches.clear_environment()
    line = f"{name}={text} is not used: vqjax computes with {instead}\n"
    assert capsys.readouterr().err == (line if instead else "")
    assert (name in switches.os.environ) == (name == "JAX_DEBUG_NANS")


# name and value, of several with spaces between -> lines on stderr
ENVIRONMENTS = {
    "JAX_ENABLE_X64=1": 1,
    "JAX_DISABLE_JIT=1": 1,
    "JAX_NUMPY_DTYPE_PROMOTION=strict": 1,
    "JAX_NUMPY_RANK_PROMOTION=raise": 1,
    "JAX_TRANSFER_GUARD=disallow": 1,
    "JAX_CHECK_TRACER_LEAKS=0": 0,
    "JAX_ENABLE_CHECKS=1": 0,
    "JAX_LEGACY_PRNG_KEY=error": 0,
    "JAX_DEBUG_NANS=1": 0,
    "LC_ALL=C PYTHONUTF8=0": 0,
    "PYTHONIOENCODING=ascii": 0,
    "PYTHONIOENCODING=latin-1": 0,
    "PYTHONIOENCODING=cp437": 0,
    "PYTHONWARNINGS=error": 0,
    "PYTHONOPTIMIZE=2": 0,
    "COLUMNS=0 LINES=0": 0,
    "TZ=Pacific/Kiritimati": 0,
    "MPLBACKEND=nonsense": 0,
    "HOME=/nonexistent XDG_CACHE_HOME=/nonexistent": 0,
}


@pytest.mark.more
@pytest.mark.parametrize("setting", slow_but("PYTHONWARNINGS=error", ENVIRONMENTS))
def test_a_run_under_the_settings_of_an_environment(setting, tmp_path):
    environment = {**ENVIRONMENT, **dict(pair.split("=", 1) for pair in setting.split())}
    words = ["--config", "digits", "--config.steps=2", "--config.eval_every=2", *TINY, "--workdir", tmp_path / "run"]
    done = command("-m", "vqjax", "train", *words, env=environment, text=False)
    assert done.returncode == 0, done.stderr.decode(errors="replace")
    assert len(done.stderr.splitlines()) == ENVIRONMENTS[setting]
    assert b"next:" in done.stdout and b"warning" not in done.stdout
    assert {"eval.json", "report.md", "curves.png"} <= {path.name for path in (tmp_path / "run").iterdir()}
