"""The installed package: the wheel in a folder of its own, run from somewhere else."""

import json
import subprocess
import sys
import tarfile
import tomllib
import zipfile

import pytest
from conftest import REPOSITORY
from helpers import ENVIRONMENT, TINY

import vqjax

PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The sdist, and the wheel that is built from it: of what git knows, so that nothing that lies about is packed."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("built")
    files = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=REPOSITORY,
        capture_output=True,
        check=True,
    )
    for name in filter(None, files.stdout.decode().split("\0")):
        if (REPOSITORY / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((REPOSITORY / name).read_bytes())
    build = [sys.executable, "-m", "build", "--no-isolation", "--outdir", out, source]
    subprocess.run(build, check=True, capture_output=True)
    return out


@pytest.fixture(scope="module")
def wheel(built):
    return next(built.glob("vqjax-*.whl"))


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """Runs Python where vqjax is the wheel's, in a folder that is the checkout of something else."""
    site, folder = tmp_path_factory.mktemp("site"), tmp_path_factory.mktemp("elsewhere")
    with zipfile.ZipFile(wheel) as file:
        file.extractall(folder / ".venv")
    subprocess.run(["git", "init", "-q", folder], check=True)
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b.c", "commit", "-q", "--allow-empty", "-m", "theirs"]
    subprocess.run(git, cwd=folder, check=True)
    environment = {**ENVIRONMENT, "PYTHONPATH": str(folder / ".venv"), "HOME": str(site)}

    def run(*words):
        command = [sys.executable, *map(str, words)]
        return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)

    return folder, run


def test_nothing_but_vqjax_is_installed(wheel):
    with zipfile.ZipFile(wheel) as file:
        names = file.namelist()
        assert {name.partition("/")[0] for name in names} == {
            "vqjax",
            next(n for n in names if "dist-info" in n).partition("/")[0],
        }
        metadata = file.read(next(name for name in names if name.endswith("METADATA"))).decode()
    needed = [line.partition("#")[0].strip() for line in (REPOSITORY / "requirements.txt").read_text().splitlines()]
    for requirement in filter(None, needed):
        assert f"Requires-Dist: {requirement.partition('>')[0]}" in metadata


def test_the_sdist_has_all_that_a_wheel_is_built_of(built):
    with tarfile.open(next(built.glob("vqjax-*.tar.gz"))) as file:
        names = {name.partition("/")[2] for name in file.getnames()}
    assert {"LICENSE", "README.md", "pyproject.toml", "configs/digits.py", "vqjax/__init__.py"} <= names


def test_every_file_of_the_package_and_every_config_is_installed(wheel):
    """The page of `explore` is made of files that are no Python."""
    files = (path for path in (REPOSITORY / "vqjax").rglob("*") if path.is_file() and path.suffix != ".pyc")
    here = {path.relative_to(REPOSITORY).as_posix() for path in files}
    here |= {f"vqjax/{path.relative_to(REPOSITORY).as_posix()}" for path in (REPOSITORY / "configs").rglob("*.py")}
    with zipfile.ZipFile(wheel) as file:
        assert {name for name in file.namelist() if name.startswith("vqjax/")} == here


@pytest.mark.more
def test_it_runs_from_any_directory(installed):
    folder, run = installed
    version = run("-m", "vqjax", "--version")
    assert version.returncode == 0 and version.stdout == f"vqjax {vqjax.__version__}\n"
    light = run("-c", "import sys, vqjax; assert not {'jax', 'numpy'} & {*sys.modules}; print(vqjax.__file__)")
    assert light.returncode == 0 and str(folder) in light.stdout, light.stderr
    listed = run("-m", "vqjax")
    assert listed.returncode == 0 and "  train " in listed.stdout
    configs = run("-m", "vqjax", "train")
    assert configs.returncode == 2 and "digits, digits_levels" in configs.stderr
    (folder / "mine.py").write_text("from configs import digits\nget_config = digits.get_config\n")
    for config in ("digits", "mine.py"):
        result = run("-m", "vqjax", "train", "--config", config, "--config.steps=2", *TINY)
        assert result.returncode == 0, result.stderr
    facts = json.loads((folder / "runs" / "digits" / "run.json").read_text())
    assert facts["git_commit"] == "unknown" and (folder / "runs" / "mine" / "eval.json").is_file()


def test_the_program_is_the_module():
    module, _, function = PROJECT["project"]["scripts"]["vqjax"].partition(":")
    code = f"import sys; from {module} import {function}; sys.argv = ['vqjax', 'trian']; {function}()"
    result = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True)
    assert result.returncode == 2 and 'Did you mean "train"?' in result.stderr
