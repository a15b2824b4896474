"""mkdocs's hooks: what the site takes from outside docs/, and what it makes of a page before it is rendered.

README becomes the first page, the notebook a page, and the public names of docs/api.md get their signatures and
docstrings. A link keeps meaning the file that it means in the repository; a file that is no page goes into the site as
it is.
"""

from __future__ import annotations

import json
import posixpath
import re
from pathlib import Path

# pyright: reportMissingImports=false
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
# A page outside docs/ -> where it is in the site.
PAGES = {
    "README.md": "index.md",
    **{
        name: name
        for name in (
            "CHANGELOG.md",
            "CONTRIBUTING.md",
            "SECURITY.md",
            "integrations/python/README.md",
            "integrations/comfyui/README.md",
        )
    },
}
PLACES = {site: source for source, site in PAGES.items()}
LINK = re.compile(r"(?<=\]\()(?!\w+:|#)([^)#\s]*)(#[^)\s]*)?(?=\))")
FENCED = re.compile(r"(^ *```.*?^ *```|`[^`\n]+`)", re.M | re.S)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages outside docs/, the notebooks as pages, and every file that a page links to."""
    for source, site in PAGES.items():
        files.append(File.generated(config, site, content=(ROOT / source).read_text("utf-8")))
    for notebook in [file for file in files if file.src_uri.endswith(".ipynb")]:
        page = page_of_notebook(json.loads(notebook.content_string))
        files.append(File.generated(config, notebook.src_uri.replace(".ipynb", ".md"), content=page))
    for file in list(files.documentation_pages()):
        for link, _ in LINK.findall(FENCED.sub("", file.content_string)):
            target = repository_path(file.src_uri, link)
            site = site_path(target)
            if link and (ROOT / target).is_file() and files.get_file_from_path(site) is None:
                files.append(File.generated(config, site, abs_src_path=str(ROOT / target)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turns links in the repository into links in the site."""
    here = page.file.src_uri
    if here == "api.md":
        markdown = with_reference(markdown)

    def moved(match: re.Match[str]) -> str:
        link, anchor = match[1], match[2] or ""
        if not link:
            return anchor
        return posixpath.relpath(site_path(repository_path(here, link)), posixpath.dirname(here) or ".") + anchor

    return "".join(part if number % 2 else LINK.sub(moved, part) for number, part in enumerate(FENCED.split(markdown)))


def repository_path(page: str, link: str) -> str:
    """Where in the repository a link of a page leads; the page is named by its path in the site."""
    return posixpath.normpath(posixpath.join(posixpath.dirname(PLACES.get(page, f"docs/{page}")), link))


def site_path(path: str) -> str:
    """Where a file of the repository is in the site."""
    return PAGES.get(path, path.removeprefix("docs/")).replace(".ipynb", ".md")


def with_reference(markdown: str) -> str:
    """docs/api.md with signature and docstring of each public name at the end of its section."""
    head, *sections = re.split(r"(?m)^(?=### )", markdown)
    for number, section in enumerate(sections):
        names = [name for name in re.findall(r"`(\w+)`", section.splitlines()[0]) if name != "__version__"]
        section, separator, next_chapter = section.partition("\n## ")
        reference = "".join(f"\n::: instructrestore.{name}\n" for name in names)
        sections[number] = f"{section.rstrip()}\n{reference}\n{separator.lstrip()}{next_chapter}"
    return head + "".join(sections)


def page_of_notebook(notebook: dict) -> str:
    """A notebook's cells as Markdown; what its cells printed is not part of it."""
    cells = (("".join(cell["source"]), cell["cell_type"]) for cell in notebook["cells"])
    return "\n\n".join(f"```python\n{text}\n```" if kind == "code" else text for text, kind in cells) + "\n"
