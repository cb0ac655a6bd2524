"""Start-up: what is compiled is kept for the next command, and what is not needed is not imported."""

import os
import subprocess
import sys

import jax
import numpy as np
import pytest
from helpers import ENVIRONMENT, TINY, assert_same, task_of, train

from vqjax.runs import devices
from vqjax.system import compilation

CACHE = "JAX_COMPILATION_CACHE_DIR"
SLOW = ("matplotlib", "orbax", "tensorflow_datasets", "sklearn", "tensorboardX", "torch")


@pytest.fixture
def home(monkeypatch, tmp_path):
    """An empty cache directory of a user who has said nothing about JAX's."""
    for name in [name for name in os.environ if name.startswith("JAX_") and "CACHE" in name]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(os, "environ", os.environ.copy())  # what `keep` sets is forgotten
    return tmp_path / "home"


def test_it_is_kept_by_version_and_processor(home, monkeypatch):
    compilation.enable_compilation_cache()
    place = compilation.cache_directory()
    assert os.environ[CACHE] == str(place) and place.is_dir() and place.parent == home / "vqjax" / "compiled"
    assert place.name.startswith(f"{jax.lib.__version__}-")
    monkeypatch.setattr(compilation.platform, "machine", lambda: "another")
    assert compilation.cache_directory() != place


@pytest.mark.parametrize("name, value", [(CACHE, "mine"), ("JAX_ENABLE_COMPILATION_CACHE", "0")])
def test_whoever_says_something_is_obeyed(name, value, home):
    os.environ[name] = value
    compilation.enable_compilation_cache()
    assert os.environ.get(CACHE) == (value if name == CACHE else None) and not home.exists()


def test_where_nothing_can_be_written_nothing_is_said(home, capfd):
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


def test_first_weights_compiled_quickly_are_the_same(any_task):
    thoroughly = jax.jit(any_task.init, compiler_options={"xla_backend_optimization_level": 3})
    quickly = [devices.jit_fast_compile(any_task.init, level) for level in (0, 1)]
    once, quick, thorough = (init(jax.random.key(3)) for init in (*quickly, thoroughly))
    assert quick
    assert_same(quick, thorough)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7), once, quick)


@pytest.fixture(params=["small_config", "classifier_config"])
def any_task(request):
    return task_of(request.getfixturevalue(request.param))


def test_a_run_begins_without_what_it_needs_later(tmp_path):
    """Nor scikit-learn, for a second: neither to read digits nor for its first codes. Nor Orbax, to save nothing."""
    code = "import sys; from configs import digits; from vqjax.training import loop; loop.check(digits.get_config())"
    code += "; import numpy; from vqjax.ops.kmeans import kmeans; kmeans(numpy.eye(4), 2, 0)"
    code += "; from vqjax.runs.workdir import Workdir; opened = Workdir(sys.argv[1]).checkpoints(create=True)"
    code += "; opened.__enter__(); assert opened.latest is None; opened.__exit__(None); print(*sys.modules)"
    command = [sys.executable, "-c", code, str(tmp_path)]
    found = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert "jax" in found and not {*SLOW} & {*found}
