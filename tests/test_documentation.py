"""The documentation shows what happens."""

import argparse
import collections
import contextlib
import importlib.util
import json
import os
import re
import shlex
import tomllib
from unittest import mock

import commands
import pytest
import yaml
from conftest import REPOSITORY
from helpers import lines_of
from ml_collections import ConfigDict

import vqjax
from vqjax import __main__
from vqjax.data.datasets import DATASETS
from vqjax.networks.encoders import DECODERS, ENCODERS
from vqjax.quantizers import QUANTIZERS
from vqjax.tasks import TASKS

BLOCK = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)
CODE = re.compile(r"^ *```.*?^ *```$|`[^`\n]*`", re.DOTALL | re.MULTILINE)
BASES = ("autoencoder", "prior", "classifier", "code_classifier")  # configs that spell out every field
LINK = re.compile(r"\]\(([^)\s]+)\)")
FOREIGN = re.compile(  # what is not vqjax's: a line that begins so is not parsed
    r"(git|pip|cd|cp|tfds|\.|python -m (venv|pytest|benchmarks\.\w+)|python train.py --dataset=vqdigits)\b.*"
)
INLINE = re.compile(r"(?:python (?:train|sample)\.py|(?:python -m )?vqjax \w+) [^\n&;`]*")


def run_blocks(name, names):
    """Runs the Python on a page of docs/ from top to bottom, among `names`."""
    page = (REPOSITORY / "docs" / name).read_text()
    for block in BLOCK.finditer(page):
        lines = "\n" * page[: block.start(1)].count("\n")  # so that an error names the line of the page
        exec(compile(lines + block[1], f"docs/{name}", "exec"), names)


@pytest.mark.slow
def test_the_page_on_python_runs_from_top_to_bottom(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "page"}
    run_blocks("python.md", names)
    assert names["prior"].tokenizer.step == 100


@pytest.mark.slow
def test_the_page_on_models_of_your_own_runs_from_top_to_bottom(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "page"}
    run_blocks("python_models.md", names)
    frequency = names["state"][2]["codebook"]["quantizer"]["frequency"]
    assert len(frequency) == 8 and (frequency == frequency[:1]).all()  # the devices stay equal


def test_the_page_on_configuration_is_what_the_configs_say():
    spec = importlib.util.spec_from_file_location("make_configuration", REPOSITORY / "docs" / "make_configuration.py")
    maker = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(maker)
    page = maker.PAGE.read_text()
    assert page == maker.page(), "run `python docs/make_configuration.py`"
    rows = [line for line in page.splitlines() if line.startswith("| `")]
    assert len(rows) > 150 and not [row for row in rows if row.endswith("|  |")]  # each field has its words


def texts():
    """Texts in Markdown: {path: text}, pages and the notebooks' cells."""
    found = {path: path.read_text() for folder in (".", "[!.]*") for path in REPOSITORY.glob(f"{folder}/*.md")}
    for path in REPOSITORY.glob("examples/*.ipynb"):
        cells = json.loads(path.read_text())["cells"]
        found[path] = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    return found


TEXTS = texts()
OURS = sorted(str(path.relative_to(REPOSITORY)) for path in TEXTS if path.suffix == ".md")
OURS.remove("benchmarks/README.md")  # has tables to look up, and other commands


def anchors(page):
    """Anchors of a page's headings, as GitHub makes them."""
    lines = [line.lstrip("# ").lower() for line in page.read_text().splitlines() if re.match("#+ ", line)]
    return {re.sub(r"[^\w\- ]", "", line).replace(" ", "-") for line in lines}


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_links_lead_somewhere(path):
    """Links inside the repository."""
    for target in LINK.findall(CODE.sub("", TEXTS[path])):
        if re.match(r"\w+:", target):
            continue
        name, _, anchor = target.partition("#")
        page = path.parent / name if name else path
        assert page.exists(), target
        assert not anchor or anchor in anchors(page), target


@pytest.mark.more
def test_the_page_on_extending_runs_from_top_to_bottom(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with contextlib.ExitStack() as stack:
        for table in (DATASETS, QUANTIZERS, ENCODERS, DECODERS, TASKS):
            stack.enter_context(mock.patch.dict(table))  # what the page adds is taken away again
        run_blocks("extending.md", {"__name__": "page"})
    first, *_, last = [line["loss"] for line in lines_of(tmp_path / "runs" / "filling" / "metrics.jsonl")]
    assert last < first and (tmp_path / "runs" / "filling" / "filled.png").is_file()
    assert "stripes" not in DATASETS


def commands_of(path):
    """Commands in a text: in its blocks, and in backquotes within its sentences; not those that leave a word open."""
    blocks = [block for block in re.findall(r"```\w*\n.*?```|`[^`\n]*`", TEXTS[path], re.DOTALL)]
    joined = "\n".join(blocks).replace("\\\n", " ")
    lines = [line.strip() for line in INLINE.findall(joined) if "--help" not in line and not re.search("[<…]", line)]
    found = [command for line in lines if not FOREIGN.fullmatch(line) for command in commands.ours(line)]
    return [command for command in found if len(command.arguments) > 1]  # else no more than its name is told


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_every_command_has_flags_fields_and_a_config_that_exist(path, monkeypatch):
    """It is parsed, not run."""
    monkeypatch.chdir(REPOSITORY)
    for command in commands_of(path):
        with contextlib.suppress(SystemExit):  # of --version
            __main__.parse([command.name, *command.arguments])


def benchmarks_of(text):
    """{benchmark: the arguments of each of its commands in a text}; in a sentence a command may have two lines."""
    blocks = re.findall(r"```\w*\n(.*?)```", text, re.DOTALL)
    spans = [
        span.replace("\n", " ") for span in re.findall(r"`([^`]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
    ]
    found = collections.defaultdict(list)
    for line in [line for part in (*blocks, *spans) for line in part.replace("\\\n", " ").splitlines()]:
        for name, words in re.findall(r"python -m benchmarks\.(\w+)([^&;]*)", line):
            found[name].append(shlex.split(words, comments=True))
    return found


BENCHMARKS = {
    path.stem: path for path in sorted((REPOSITORY / "benchmarks").glob("*.py")) if "\ndef main" in path.read_text()
}


@pytest.mark.parametrize("name", BENCHMARKS)
def test_every_command_of_a_benchmark_has_flags_that_exist(name, monkeypatch):
    """On the pages, and in its docstring; it is parsed, not run."""
    if re.search("import torch|import .*rows", BENCHMARKS[name].read_text()):
        pytest.importorskip("torch")
    monkeypatch.setenv("XLA_FLAGS", os.environ["XLA_FLAGS"])  # a benchmark sets its own
    benchmark = importlib.import_module(f"benchmarks.{name}")
    docstring = "\n".join(f"`{line}`" for line in benchmark.__doc__.splitlines() if "python -m" in line)
    named = [words for text in TEXTS.values() for words in benchmarks_of(text)[name] if words]  # else only its name
    for words in (*benchmarks_of(docstring)[name], *named):
        benchmark.parser().parse_args(words)


def test_every_benchmark_on_a_page_exists():
    assert {name for text in TEXTS.values() for name in benchmarks_of(text)} <= BENCHMARKS.keys()


@pytest.mark.parametrize("path", [path for path in TEXTS if path.suffix == ".md"], ids=lambda path: path.name)
def test_every_line_of_a_block_is_a_command_that_there_is(path):
    for line in commands.lines(path):
        first, last = line.partition("&&")[0].strip(), line.rpartition("&&")[2].strip()
        assert commands.ours(line) or FOREIGN.fullmatch(first) or FOREIGN.fullmatch(last), line


def options_of(parser):
    """Flags of a parser and of the parsers below it."""
    for action in parser._actions:
        yield from action.option_strings
        if isinstance(action, argparse._SubParsersAction):
            for choice in action.choices.values():
                yield from options_of(choice)


def fields_of(config, prefix=""):
    """Dotted names of a config's fields and sections."""
    for name, value in config.items():
        yield prefix + name
        if isinstance(value, ConfigDict):
            yield from fields_of(value, f"{prefix}{name}.")


FLAGS = {
    flag
    for name in __main__.COMMANDS
    for flag in options_of(importlib.import_module(f"vqjax.commands.{name}").parser())
}
FIELDS = {name for base in BASES for name in fields_of(vqjax.get_config(base))}


@pytest.mark.parametrize("name", OURS)
def test_flags_and_fields_in_sentences_exist(name):
    text = (REPOSITORY / name).read_text()
    flags = [flag for flag in re.findall(r"`(--\w+)", text) if not flag.startswith("--config")]
    assert not {*flags} - FLAGS
    fields = re.findall(r"`(?:--)?config\.((?:data|model|optimizer)\.[\w.]+|\w+)[`=]", text)
    fields += re.findall(r"`((?:data|model|optimizer)\.[\w.]+)[`=]", text)
    assert not {*fields} - FIELDS - {"json", "model.yaml"}  # these two are files


def test_every_command_of_the_readme_is_run_or_has_a_reason_why_not():
    """Commands that test_run.py does not know by name are run as they stand; here, none is known that is not there."""
    known = [*commands.MAIN_JOB, *commands.ONLY_PARSED, *commands.SHORTER]
    assert {*known} <= {*commands.README} and all(commands.ours(line) for line in commands.REST)


def test_what_the_readme_trains_is_saved_long_before_its_end():
    """Who stops it after half of its steps has a checkpoint and pictures."""
    words = [
        command.arguments for line in commands.README for command in commands.ours(line) if command.name == "train"
    ]
    for arguments in words:
        config = __main__.parse(["train", *arguments])[1].config
        assert max(config.save_every, config.eval_every) <= config.steps / 2, arguments
    assert words


LIMITS = {"README.md": 1_000, "docs/configuration.md": None, "docs/results.md": None, "CHANGELOG.md": None}


@pytest.mark.parametrize("name", OURS)
def test_no_page_is_longer_than_one_reads(name):
    """Words as `wc -w` counts them; tables that are looked up, not read, may have more."""
    limit = LIMITS.get(name, 1_200)
    assert limit is None or len((REPOSITORY / name).read_text().split()) <= limit


def test_files_that_the_page_on_reliability_names_are_there():
    names = re.findall(r"`([\w/]*test_\w+\.py)`", (REPOSITORY / "docs" / "reliability.md").read_text())
    assert len(names) > 30 and not [name for name in names if not (REPOSITORY / "tests" / name).is_file()]


def test_pictures_are_small():
    """Each is below 300 kB, and shown on a page."""
    shown = "".join(text for path, text in TEXTS.items() if path.suffix == ".md")
    for path in (REPOSITORY / "docs" / "images").iterdir():
        assert path.stat().st_size < 300_000 and f"images/{path.name})" in shown, path.name


def test_contributing_has_the_checks_of_ci():
    script, page = (REPOSITORY / ".ci" / "run").read_text(), (REPOSITORY / "CONTRIBUTING.md").read_text()
    lines = script.splitlines()
    checks = next(line for line in lines if "ruff" in line).split(" && ")
    checks += [line for line in lines if line.startswith("python -m pytest")]
    assert len(checks) == 6 and "mkdocs build --strict" in script
    checks.append("mkdocs build --strict")
    for check in checks:
        assert f"| `{check}` |" in page


def test_the_citation_is_of_this_version():
    cited = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text())
    assert {"cff-version", "title", "message", "authors"} <= cited.keys()  # what the format demands
    assert (
        cited["version"] == vqjax.__version__ and f"({cited['version']})" in (REPOSITORY / "CHANGELOG.md").read_text()
    )
    assert cited["license"] == tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["license"]
