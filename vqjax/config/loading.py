"""Finding and loading config files, those that come with vqjax by name."""

import contextlib
import importlib.util
import inspect
import sys
import types
from collections.abc import Iterator
from pathlib import Path

from ml_collections import ConfigDict

from vqjax.system.errors import InputError, did_you_mean
from vqjax.system.paths import expand_path


def configs_directory() -> Path:
    """Directory of the configs that come with vqjax: inside the installed package, beside it in a checkout."""
    package = Path(__file__).resolve().parent.parent
    inside = package / "configs"
    return inside if inside.is_dir() else package.parent / "configs"


def config_names() -> list[str]:
    """Names of the configs that come with vqjax, sorted: digits, ablation/digits, ..."""
    files = (path.relative_to(configs_directory()).with_suffix("") for path in configs_directory().rglob("[!_]*.py"))
    return sorted((path.as_posix() for path in files), key=lambda name: (name.count("/"), name))


def find_config(text: str, flag: str = "--config") -> tuple[Path, str]:
    """The file and the argument ("" for none) of `path[:argument]`, or of `name[:argument]` that comes with vqjax.

    `flag` is what messages call it.

    Raises InputError, which names the nearest file, if there is none.
    """
    expand_path(text, flag)  # an address has a colon too
    name, _, argument = text.partition(":")
    path = expand_path(name, flag)
    if path.is_file():
        return path, argument
    if name in config_names():
        return configs_directory() / f"{name}.py", argument
    beside = [str(other) for other in path.parent.glob("[!_]*.py")] if path.parent.is_dir() else []
    by_stem = {each.rpartition("/")[2]: each for each in reversed(config_names())}  # of two, the one that lies higher
    hint = did_you_mean(str(path), beside) if path.suffix else ""
    hint = hint or did_you_mean(path.stem, by_stem, by_stem.__getitem__)
    raise InputError(f"{flag}={text}: there is no file {name}.{hint}\nThe configs of vqjax, by name: {listing()}")


def listing() -> str:
    """The names of the configs that come with vqjax, in one line."""
    return ", ".join(config_names())


def load_config(file: Path, argument: str = "", flag: str = "--config") -> ConfigDict:
    """The config that the file's `get_config` gives for an argument. Raises InputError, naming the flag, if none."""
    spec = importlib.util.spec_from_file_location(f"config_{file.stem}", file)
    if spec is None or spec.loader is None:
        raise InputError(f"{flag}={file}: expected a Python file")
    module = importlib.util.module_from_spec(spec)
    try:
        with _configs(file.parent):
            spec.loader.exec_module(module)
            get_config = getattr(module, "get_config", None)
            if get_config is None:
                raise InputError(f"{flag}={file}: expected a function get_config in it")
            if argument and not inspect.signature(get_config).parameters:
                raise InputError(f"{flag}={file}:{argument}: this config takes no argument")
            config = get_config(*filter(None, [argument]))
    except InputError:
        raise
    except Exception as error:  # a config is code: it can fail in any way
        reason = "\n".join(str(error).strip().splitlines()[:3])
        raise InputError(f"{flag}={file}: {type(error).__name__}: {reason}") from error
    if not isinstance(config, ConfigDict):
        raise InputError(f"{flag}={file}: get_config() must return a ConfigDict, not {type(config).__name__}")
    return config


@contextlib.contextmanager
def _configs(beside: Path) -> Iterator[None]:
    """While entered, `from configs import ...` finds those that come with vqjax, whatever else is called so.

    A file in another folder of that name finds those beside it too.
    """
    kept = {name: sys.modules.pop(name) for name in [*sys.modules] if name.partition(".")[0] == "configs"}
    package = types.ModuleType("configs")
    package.__path__ = [
        str(configs_directory()),
        *([str(beside.resolve())] if beside.resolve().name == "configs" else []),
    ]
    sys.modules["configs"] = package
    try:
        yield
    finally:
        for name in [name for name in sys.modules if name.partition(".")[0] == "configs"]:
            del sys.modules[name]
        sys.modules.update(kept)
