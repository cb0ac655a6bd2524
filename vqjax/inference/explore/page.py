"""The page as a file: page.html, page.css and page.js beside this file show the contents, which are JSON."""

import json
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Annotated, Any

from vqjax.config.annotations import Range
from vqjax.config.check import check_value
from vqjax.data import datasets
from vqjax.inference.explore.contents import Source, page_contents
from vqjax.system.files import atomic_write
from vqjax.system.paths import output_path


def write_page(
    source: Source,
    workdir: Path,
    out: str | Path | None,
    num: int,
    split: str,
    data_dir: str | None = None,
    data_path: str | None = None,
) -> Path:
    """Write the page of a trained autoencoder or prior.

    Args:
      source: whose codes.
      workdir: of the run that the page is about.
      out: the page; by default explore.html in the workdir.
      num: images of the split, and samples of a prior.
      split: its name.
      data_dir, data_path: where the data are now; see `datasets.with_data_paths`.

    Returns:
      Its path.

    Raises:
      InputError: an argument is wrong, or the page cannot show such codes. Nothing is written then.
    """
    check_value(num, Annotated[int, Range(1, 1_000)], "--num")
    page = output_path(out or workdir / "explore.html", ".html")
    source = source._replace(data=datasets.with_data_paths(source.data, data_dir, data_path))
    contents = {"name": workdir.name, **page_contents(source, num, split)}
    with atomic_write(page) as temporary:
        temporary.write_text(render(contents), encoding="utf-8", errors="backslashreplace")
    return page


def render(contents: Mapping[str, Any]) -> str:
    """Return the page with its contents."""
    data = json.dumps(contents, separators=(",", ":"), allow_nan=False)
    data = data.replace("<", "\\u003c")  # no tag ends the script
    html, css, js = (
        resources.files(__package__).joinpath(f"page.{kind}").read_text("utf-8") for kind in ("html", "css", "js")
    )
    return html.replace("/* page.css */", css).replace("/* page.js */", js).replace("/* data */", data)
