"""Start-up: compiled programs are kept for the next command, and nothing is imported before it is needed."""

import os

import jax
import numpy as np
import pytest
from helpers import ENVIRONMENT, TINY, assert_same, command, task_of, train

from vqjax.ops.platforms import jit_fast_compile
from vqjax.system import compilation

CACHE = "JAX_COMPILATION_CACHE_DIR"
SLOW = ("matplotlib", "orbax", "tensorflow_datasets", "sklearn", "tensorboardX", "torch")


@pytest.fixture
def home(monkeypatch, tmp_path):
    """An empty cache directory of a user who has said nothing about JAX's."""
    for name in [name for name in os.environ if name.startswith("JAX_") and "CACHE" in name]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(os, "environ", os.environ.copy())  # so that its changes are forgotten
    return tmp_path / "home"


def test_the_cache_is_by_version_and_processor(home, monkeypatch):
    compilation.enable_compilation_cache()
    place = compilation.cache_directory()
    assert os.environ[CACHE] == str(place) and place.is_dir() and place.parent == home / "vqjax" / "compiled"
    assert place.name.startswith(f"{jax.lib.__version__}-")
    monkeypatch.setattr(compilation.platform, "machine", lambda: "another")
    assert compilation.cache_directory() != place


@pytest.mark.parametrize("name, value", [(CACHE, "mine"), ("JAX_ENABLE_COMPILATION_CACHE", "0")])
def test_the_users_own_settings_stay(name, value, home):
    os.environ[name] = value
    compilation.enable_compilation_cache()
    assert os.environ.get(CACHE) == (value if name == CACHE else None) and not home.exists()


def test_without_a_place_to_write_there_is_no_cache_and_no_message(home, capfd):
    home.write_text("a file in its place")
    compilation.enable_compilation_cache()
    assert CACHE not in os.environ and capfd.readouterr() == ("", "")


@pytest.mark.slow
def test_kept_programs_give_the_same_run_and_say_nothing(tmp_path):
    environment = {name: value for name, value in ENVIRONMENT.items() if not name.startswith("JAX_")}
    environment |= {"XDG_CACHE_HOME": str(tmp_path / "home"), "JAX_PLATFORMS": "cpu"}
    results = [train(tmp_path / name, *TINY, "--config.steps=5", env=environment) for name in ("compiled", "kept")]
    assert [(result.returncode, result.stderr) for result in results] == [(0, ""), (0, "")]
    assert len([*(tmp_path / "home").rglob("*-cache")]) >= 3
    compiled, kept = ((tmp_path / name / "metrics.jsonl").read_text() for name in ("compiled", "kept"))
    assert compiled == kept


@pytest.mark.more
def test_first_weights_compiled_quickly_are_the_same(any_task):
    thoroughly = jax.jit(any_task.init, compiler_options={"xla_backend_optimization_level": 3})
    quickly = [jit_fast_compile(any_task.init, level) for level in (0, 1)]
    once, quick, thorough = (init(jax.random.key(3)) for init in (*quickly, thoroughly))
    assert_same(quick, thorough)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7), once, quick)


@pytest.fixture(params=["small_config", "classifier_config"])
def any_task(request):
    return task_of(request.getfixturevalue(request.param))


BEGINNING = """
import sys
import numpy
from configs import digits
from vqjax.config.schema import Settings
from vqjax.ops.kmeans import kmeans
from vqjax.runs.workdir import Workdir
from vqjax.training.setup import plan
plan(Settings.of(digits.get_config()), Workdir(sys.argv[1]))
kmeans(numpy.eye(4), 2, 0)
with Workdir(sys.argv[1]).checkpoints(create=True) as checkpoints:
    assert checkpoints.latest is None
print(*sys.modules)
"""


def test_a_run_begins_without_what_it_needs_later(tmp_path):
    """Without scikit-learn, which takes a second, for digits and first codes; without Orbax, to save nothing."""
    modules = command("-c", BEGINNING, tmp_path, check=True).stdout.split()
    assert "jax" in modules and not {*SLOW} & {*modules}
