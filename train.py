"""Trains what a config describes:

python train.py --config configs/digits.py [--workdir DIR] [--config.steps=1000 ...]
"""

import sys
from pathlib import Path

from absl import app, flags, logging
from ml_collections import config_flags

_CONFIG = config_flags.DEFINE_config_file("config", None, "the run's config file, path[:argument]", lock_config=True)
_WORKDIR = flags.DEFINE_string("workdir", None, "the run's directory (default: runs/<the config's name and argument>)")

flags.FLAGS.set_default("verbosity", logging.WARNING)


def _parse(argv: list[str]) -> list[str]:
    """Parses the flags; what is wrong with them takes a few lines, not a traceback."""
    try:
        rest = flags.FLAGS(argv)
        if flags.FLAGS["config"].value is None:
            sys.exit("error: --config is missing; expected a file, for example --config configs/digits.py")
    except (flags.Error, AttributeError, KeyError, TypeError, ValueError, OSError, SyntaxError, ImportError) as error:
        sys.exit("error: " + "\n".join(str(error).splitlines()[:4]))
    if rest[1:]:
        sys.exit(f"error: unexpected argument {rest[1]!r}; fields of the config are set as --config.name=value")
    return rest


def _default_workdir() -> Path:
    file, _, argument = config_flags.get_config_filename(flags.FLAGS["config"]).partition(":")
    return Path("runs") / "-".join(filter(None, [Path(file).stem, argument.replace(",", "-")]))


def main(_: list[str]) -> None:
    from vqjax import config, loop  # JAX starts here, after the flags are known to be right

    try:
        sys.exit(loop.train(_CONFIG.value, _WORKDIR.value or _default_workdir()))
    except config.InputError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    app.run(main, flags_parser=_parse)
