"""Hooks of MkDocs: pages written from the code and from the project's own READMEs, and a site that asks nobody else for anything.

``mkdocs.yml`` names this file.
"""

import posixpath
import re
import sys
from pathlib import Path
from typing import Any

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from scripts import reference  # noqa: E402  # the path is set one line above

# Kept where people who read the repository look for them, and shown on the site as well.
READMES = {
    "cluster/README.md": "guides/cluster.md",
    "benchmarks/README.md": "benchmarks.md",
    "constitutions/README.md": "constitutions.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
}
# What a link in the repository means on the site.
PAGES = READMES | {
    "character_ray/config/recipe.py": "reference/recipe.md",
    "character_ray/report/schema.py": "reference/report.md",
}
MARKERS = {"<!-- plan-check -->": reference.plan_check}
FOREIGN = re.compile(
    r"<(?:script|img|iframe|source)\b[^>]*\bsrc=\"?(?:https?:)?//|<link\b(?=[^>]*\brel=\"?(?:stylesheet|preload|icon|preconnect))[^>]*href=\"?(?:https?:)?//"
)


def on_files(files: Files, config: Any) -> Files:
    """Add the pages that no file of ``docs/`` holds."""
    pages = {
        "reference/recipe.md": reference.recipe_reference(),
        "reference/commands.md": reference.command_reference(),
        "reference/report.md": reference.report_reference(),
        **reference.api_pages(),
        **{target: _fitted((ROOT / source).read_text("utf-8"), source, target) for source, target in READMES.items()},
    }
    for name, text in pages.items():
        files.append(File.generated(config, name, content=text))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Fill in the tables that are computed, and lead links to files of the repository to their pages."""
    if (ROOT / "docs" / page.file.src_uri).is_file():
        markdown = _fitted(markdown, f"docs/{page.file.src_uri}", page.file.src_uri)
    for marker, write in MARKERS.items():
        if marker in markdown:
            markdown = markdown.replace(marker, write())
    return markdown


def on_post_page(output: str, page: Any, config: Any) -> str:
    """Refuse a page that would load something from another server."""
    found = FOREIGN.search(output)
    if found:
        raise PluginError(
            f"{page.file.src_uri} loads from another server: {output[found.start() : found.start() + 120]}"
        )
    return output


def _fitted(text: str, source: str, target: str) -> str:
    """A text of the repository whose links fit the site; what the site does not hold becomes plain code.

    Args:
        text: Markdown.
        source: Where it lies in the repository.
        target: Where the site shows it.
    """

    def link(found: re.Match[str]) -> str:
        label, address = found[1], found[2]
        if re.match(r"https?://|#", address):
            return found[0]
        path, _, anchor = address.partition("#")
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), path))
        inside = PAGES.get(path) or (path.removeprefix("docs/") if path.startswith("docs/") else None)
        if inside is None:
            return label if "`" in label else f"{label} (`{path}`)"
        return (
            f"[{label}]({posixpath.relpath(inside, posixpath.dirname(target) or '.')}{'#' + anchor if anchor else ''})"
        )

    return re.sub(r"(?<!!)\[([^\]]+)\]\(([^)\s]+)\)", link, text)
