"""Hooks of mkdocs.yml: the site has the root's documents too, and a link to a file that is no page names that file."""

import re
from pathlib import Path, PurePosixPath
from posixpath import normpath, relpath
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
AT_ROOT = ("CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")
"""Documents that stand outside docs/ where people look for them."""

FENCE = re.compile(r"^( *```\w*)[^\n`]*$", re.MULTILINE)
LINK = re.compile(r"(!?)\[([^\]]*)\]\((?!\w+:)([^)#\s]*)(#[\w-]+)?\)")


def on_config(config: Any) -> Any:
    """List every decision in the navigation."""
    (decisions,) = (part["Change it"][-1] for part in config.nav if "Change it" in part)
    decisions["Decisions"] = sorted(f"decisions/{path.name}" for path in (ROOT / "docs" / "decisions").glob("0*.md"))
    return config


def on_files(files: Files, config: Any) -> Files:
    """Add the documents of the root."""
    for name in AT_ROOT:
        files.append(File.generated(config, name, abs_src_path=str(ROOT / name)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Rewrite links for the site, and drop what a fence says to the tests."""
    source = page.file.src_uri if page.file.src_uri in AT_ROOT else f"docs/{page.file.src_uri}"

    def rewritten(link: re.Match[str]) -> str:
        mark, text, target, anchor = link[1], link[2], link[3], link[4] or ""
        if not target:
            return link[0]
        aim = normpath(str(PurePosixPath(source).parent / target))
        if aim == "README.md":  # the project's front page; the site has one of its own
            aim, anchor = "docs/README.md", ""
        if aim in AT_ROOT or (aim.startswith("docs/") and not aim.endswith(".py")):
            return f"{mark}[{text}]({relpath(aim.removeprefix('docs/'), str(PurePosixPath(page.file.src_uri).parent))}{anchor})"
        return f'<abbr title="{aim}{anchor.replace("#", "::")}">{text.replace("`", "")}</abbr>'

    return LINK.sub(rewritten, FENCE.sub(r"\1", markdown))
