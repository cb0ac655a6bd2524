"""What the documentation shows is what happens."""

import re

from conftest import REPOSITORY

BLOCK = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def test_the_page_on_python_runs_from_top_to_bottom(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    page, names = (REPOSITORY / "docs" / "python.md").read_text(), {"__name__": "page"}
    for block in BLOCK.finditer(page):
        lines = "\n" * page[: block.start(1)].count("\n")  # so that an error names the line of the page
        exec(compile(lines + block[1], "docs/python.md", "exec"), names)
    assert names["prior"].tokenizer.step == 100
    frequency = names["state"][2]["codebook"]["quantizer"]["frequency"]
    assert len(frequency) == 8 and (frequency == frequency[:1]).all()  # the devices stay equal
