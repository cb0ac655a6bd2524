"""Pages of the documentation site that lie outside docs/: a hook of mkdocs.yml, for `mkdocs build --strict`.

The README is the first page. A file of the repository that a page links to becomes a page below `source/`.
"""

import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parent.parent
_LINK = re.compile(r"(?<=\]\()(?!\w+:|#)([^)\s#]+)(?=[#)])")
_LANGUAGES = {".py": "python", ".toml": "toml", ".ipynb": "json", ".cff": "yaml"}


def on_files(files: Any, config: Any) -> Any:
    """Add the first page, and a page for each file that pages link to."""
    waiting = [Path("README.md"), *(path.relative_to(ROOT) for path in (ROOT / "docs").glob("*.md"))]
    pages: dict[str, str] = {}
    while waiting:
        path = waiting.pop()
        if _site_path(path) not in pages and (ROOT / path).is_file():
            pages[_site_path(path)] = _text(path)
            waiting += [target for target in _targets(path) if target.suffix != ".png" and "images" not in target.parts]
    for name, text in pages.items():
        if name == "index.md" or name.startswith("source/"):
            files.append(File.generated(config, name, content=text))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Have the links of a page in docs/ lead to pages of the site."""
    return markdown if page.file.generated_by else _rewritten(markdown, Path("docs", page.file.src_uri))


def _targets(path: Path) -> Iterator[Path]:
    """Yield the files that a Markdown file links to, from the root of the repository."""
    if path.suffix == ".md":
        for link in _LINK.findall((ROOT / path).read_text()):
            yield Path(posixpath.normpath(path.parent / link))


def _site_path(path: Path) -> str:
    """Return where a file of the repository is on the site, as a source of mkdocs."""
    if path == Path("README.md"):
        return "index.md"
    if path.parts[0] == "docs" and path.suffix != ".py":
        return path.relative_to("docs").as_posix()
    if (ROOT / path).is_dir():
        return "configuration.md"
    return f"source/{path.as_posix()}{'' if path.suffix == '.md' else '.md'}"


def _text(path: Path) -> str:
    """Return a file as Markdown: a page with its links rewritten, or a block of code."""
    text = (ROOT / path).read_text()
    if path.suffix == ".md":
        return _rewritten(text, path)
    return f"# {path.as_posix()}\n\n``````{_LANGUAGES.get(path.suffix, '')}\n{text}``````\n"


def _rewritten(text: str, path: Path) -> str:
    """Return Markdown whose links within the repository lead to pages of the site."""
    here = posixpath.dirname(_site_path(path))

    def link(match: re.Match[str]) -> str:
        target = _site_path(Path(posixpath.normpath(path.parent / match[1])))
        return posixpath.relpath(target, here or ".")

    return _LINK.sub(link, text)
