"""The documentation is built as a site, and its pages load nothing from another host."""

import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests.docs.pages import DOCS, ROOT

LOADS = {"script": "src", "img": "src", "iframe": "src", "source": "src", "video": "src", "object": "data"}
LOADED_BY_LINK = {
    "stylesheet",
    "preload",
    "prefetch",
    "preconnect",
    "dns-prefetch",
    "icon",
    "manifest",
    "modulepreload",
}
FROM_ELSEWHERE = re.compile(r"(?:https?:)?//")
CSS_LOAD = re.compile(r"(?:url\(|@import\s+)\s*[\"']?((?:https?:)?//[^\"')\s]*)")


class Loads(HTMLParser):
    """Collects what a page loads."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note the address of a tag that loads something."""
        values = dict(attrs)
        if tag in LOADS:
            self.addresses.append(values.get(LOADS[tag]) or "")
        if tag == "link" and LOADED_BY_LINK & set((values.get("rel") or "").split()):
            self.addresses.append(values.get("href") or "")


def loads_of(page: str) -> list[str]:
    """The addresses that a page loads from elsewhere."""
    parser = Loads()
    parser.feed(page)
    return [*filter(FROM_ELSEWHERE.match, parser.addresses), *CSS_LOAD.findall(page)]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built strictly: a link that leads nowhere, or a page outside the navigation, fails."""
    folder = tmp_path_factory.mktemp("site")
    build = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    done = subprocess.run(build, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_the_site_has_every_document_and_loads_nothing_from_another_host(site: Path) -> None:
    pages = {path.relative_to(site).with_suffix("").as_posix() for path in site.rglob("*.html")}
    documents = {path.relative_to(DOCS).with_suffix("").as_posix() for path in DOCS.rglob("*.md")}
    renamed = {name.replace("README", "index") for name in documents}
    assert renamed | {"CONTRIBUTING", "SECURITY", "CHANGELOG"} <= pages
    texts = [path for suffix in ("*.html", "*.css") for path in site.rglob(suffix)]
    found = {path.name: loads_of(path.read_text(encoding="utf-8")) for path in texts}
    assert {name: loads for name, loads in found.items() if loads} == {}


def test_the_api_reference_is_made_of_docstrings(site: Path) -> None:
    page = re.sub(r"<[^>]*>", "", (site / "api.html").read_text(encoding="utf-8"))
    for words in (
        "plan_frames",
        "The changes that turn one snapshot into the next",
        "DeliverOperator",
        "The guard keeps some",
    ):
        assert words in page, words


@pytest.mark.parametrize(
    "page",
    [
        '<script src="https://cdn.example/x.js"></script>',
        '<link rel="stylesheet" href="//fonts.example/a.css">',
        '<style>@import "https://fonts.example/a.css";</style>',
        "<style>a { background: url('http://cdn.example/a.png') }</style>",
    ],
)
def test_a_load_from_another_host_would_be_found(page: str) -> None:
    assert loads_of(page)
    assert loads_of(page.replace("https:", "").replace("http:", "").replace("//", "/")) == []
