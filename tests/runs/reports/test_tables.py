"""Tables in Markdown and CSV, with any text in them."""

import csv
import re

import pytest
from helpers import HOSTILE

from vqjax.runs.reports.tables import (
    code_block,
    escape_markdown,
    format_cell,
    markdown_table,
    write_csv,
    write_markdown,
)
from vqjax.system.text import printable


def cells(line):
    """The cells of a row, as GitHub's Markdown reads them: a pipe behind a backslash divides nothing."""
    return [cell.strip() for cell in re.findall(r"\|((?:\\.|[^|\\])*)(?=\|)", line)]


def rendered(text):
    """What is shown of Markdown in which all markup is escaped."""
    assert not re.search(r"(?<!\\)(?:\\\\)*[`|<$*]", text)
    return re.sub(r"\\([^\w\s])", r"\1", text)


def test_values_are_short():
    assert [format_cell(value) for value in (0.123456, 12345, True, "a", None)] == [
        *("0.1235", "12,345", "True", "a", "None")
    ]


@pytest.mark.parametrize("text", HOSTILE)
def test_any_text_is_a_cell_of_a_table(text):
    header, line, row = markdown_table(["name", text], [["a", text]]).splitlines()
    assert line == "| --- | --- |"
    for shown in (cells(header)[1], cells(row)[1]):
        assert rendered(shown) == printable(text).strip()
    assert cells(row)[0] == "a" and len(cells(row)) == 2


def test_markup_is_escaped():
    assert escape_markdown("a|b `c` <d> $e$ **f**\n") == r"a\|b \`c\` \<d> \$e\$ \*\*f\*\*\\n"
    assert escape_markdown("codes_used") == "codes_used"


def test_a_block_of_code_holds_any_text():
    assert code_block("python train.py") == "```\npython train.py\n```"
    assert code_block("echo '```'\nb") == "````\necho '```'\nb\n````"


def test_any_text_can_be_written(tmp_path):
    write_markdown(tmp_path / "table.md", markdown_table(HOSTILE, [HOSTILE]))
    assert "Temple – 寺" in (tmp_path / "table.md").read_text(encoding="utf-8")
    write_csv(tmp_path / "table.csv", ["row", "mse", "psnr"], [{"row": name, "mse": 0.5} for name in HOSTILE])
    with (tmp_path / "table.csv").open(newline="", encoding="utf-8") as file:
        rows = [*csv.DictReader(file)]
    assert [row["row"] for row in rows] == [*map(printable, HOSTILE)]
    assert {row["mse"] for row in rows} == {"0.5"} and {row["psnr"] for row in rows} == {""}
