"""The flags of the commands that take a config: --config, its fields as --config.<name>, and --workdir."""

import sys
from collections.abc import Callable
from pathlib import Path

from absl import app, flags, logging
from ml_collections import ConfigDict, config_flags

from vqjax.command import status

_CONFIG = config_flags.DEFINE_config_file("config", None, "the config file, path[:argument]", lock_config=True)
_WORKDIR = flags.DEFINE_string("workdir", None, "the directory (default: runs/<the config's name and argument>)")


def run(main: Callable[[ConfigDict, Path], int]) -> None:
    """Calls `main(config, workdir)` with what the command line says, and exits with the status that it returns.

    `main` may raise InputError, which is shown without a traceback.
    """
    for flag in (_CONFIG, _WORKDIR):  # so that --help lists them
        flags.FLAGS.register_key_flag_for_module(sys.argv[0], flags.FLAGS[flag.name])
    app.run(lambda _: sys.exit(status(lambda: _call(main))), flags_parser=_parse)


def _call(main: Callable[[ConfigDict, Path], int]) -> int:
    if not flags.FLAGS["verbosity"].present:
        logging.set_verbosity(logging.ERROR)
    return main(_CONFIG.value, Path(_WORKDIR.value or _default_workdir()))


def _parse(argv: list[str]) -> list[str]:
    """Parses the flags; what is wrong with them, or with the config's own code, takes a few lines, not a traceback."""
    try:
        rest = flags.FLAGS(argv)
        if not flags.FLAGS["config"].present:
            sys.exit("error: --config is missing; expected a file, for example --config configs/digits.py")
        getattr(_CONFIG.value, "keys", None)  # a file that could not be loaded raises its error at the first use
    except Exception as error:  # a config is code: it can fail in any way
        sys.exit(f"error: {_unknown(error, argv) or _brief(error)}")
    if not isinstance(_CONFIG.value, ConfigDict):
        sys.exit(f"error: get_config() of --config must return a ConfigDict, not {type(_CONFIG.value).__name__}")
    if rest[1:]:
        sys.exit(f"error: unexpected argument {rest[1]!r}; fields of the config are set as --config.name=value")
    return rest


def _unknown(error: Exception, argv: list[str]) -> str:
    """What is wrong if a flag sets a field that the config does not have: ml_collections names the field alone."""
    if error.args and isinstance(error.args[0], KeyError):
        error = error.args[0]
    if not isinstance(error, KeyError):
        return ""
    field, _, hint = str(error.args[0]).partition("\n")
    names = (argument.partition("=")[0] for argument in argv)
    flag = next((name for name in names if field.strip("'") in name.split(".")), "")
    return flag and f"{flag}: there is no field {field}. {hint}"


def _brief(error: Exception) -> str:
    """An error's text in at most four lines; of a traceback in it, which ml_collections embeds, its last line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if any(line.startswith("Traceback") for line in lines):
        lines = [lines[0], lines[-1]]
    return "\n".join(lines[:4]) or type(error).__name__


def _default_workdir() -> Path:
    """runs/digits of configs/digits.py, runs/classifier-mnist of configs/classifier.py:mnist, and so in its folders."""
    file, _, argument = config_flags.get_config_filename(flags.FLAGS["config"]).partition(":")
    *folders, name = Path(file).with_suffix("").parts
    inside = folders[folders.index("configs") + 1 :] if "configs" in folders else []
    return Path("runs", *inside, "-".join(filter(None, [name, argument.replace(",", "-")])))
