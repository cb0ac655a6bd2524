"""The style of the code: docstrings that begin with a verb or a noun, short functions, short files."""

import ast

import pytest
from conftest import REPOSITORY

RIDDLES = {"What", "That", "Of", "As", "Those", "It"}  # first words that leave a reader to guess
MAX_FUNCTION, MAX_FILE = 40, 300  # lines, in vqjax/

DIRECTORIES = ("vqjax", "configs", "benchmarks")
CODE = [path for name in DIRECTORIES for path in sorted((REPOSITORY / name).rglob("*.py"))]
CODE += [REPOSITORY / "train.py", REPOSITORY / "sample.py", *sorted((REPOSITORY / "docs").glob("*.py"))]


def files(directory=""):
    """The files of a directory, as parameters."""
    paths = {str(path.relative_to(REPOSITORY)): path for path in CODE}
    return [pytest.param(path, id=name) for name, path in paths.items() if name.startswith(directory)]


def nodes(path, *kinds):
    return [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, kinds)]


@pytest.mark.parametrize("path", files())
def test_a_docstring_begins_with_a_verb_or_a_noun(path):
    for node in nodes(path, ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef):
        if docstring := ast.get_docstring(node):
            first = docstring.split()[0].strip(",.:;")
            assert first not in RIDDLES, f"line {getattr(node, 'lineno', 1)}: a docstring begins with {first!r}"


@pytest.mark.parametrize("path", files("vqjax/"))
def test_files_and_functions_are_short(path):
    assert len(path.read_text().splitlines()) <= MAX_FILE
    for node in nodes(path, ast.FunctionDef, ast.AsyncFunctionDef):
        lines = node.end_lineno - node.lineno + 1
        assert lines <= MAX_FUNCTION, f"line {node.lineno}: {node.name} has {lines} lines"
