"""The folders of the client: who may import from whom, and what each page tells the browser to fetch."""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from html.parser import HTMLParser
from pathlib import Path

import pytest

WEB = Path(__file__).resolve().parents[2] / "web"
SHARED = frozenset({"shared", "protocol", "devices"})
# What the folders that are not pages, and the one page that is made of another, may import from.
MAY_IMPORT = {
    "shared": frozenset[str](),
    "protocol": frozenset({"shared"}),
    "devices": frozenset({"shared", "protocol"}),
    "room": SHARED | {"prejoin"},
}
SCRIPTS = sorted(
    path
    for pattern in ("*.js", "*.d.ts")
    for path in WEB.rglob(pattern)
    if not {"node_modules", "tests"} & set(path.relative_to(WEB).parts)
)
COMMENT = re.compile(r"/\*.*?\*/|(?<![:\"'`])//[^\n]*", re.DOTALL)


def name(path: Path) -> str:
    return path.relative_to(WEB).as_posix()


def code_of(path: Path) -> str:
    return COMMENT.sub("", path.read_text(encoding="utf-8"))


def imported(path: Path, source: str) -> Iterator[Path]:
    """Yield what a source imports, for types too where its comments are part of it."""
    for target in re.findall(r'(?:\bfrom |\bimport\(|\bimport )"([^"]+)"', source):
        yield (path.parent / target).resolve()


def test_the_scripts_are_found() -> None:
    folders = {path.relative_to(WEB).parts[0] for path in SCRIPTS}
    assert folders >= {"shared", "protocol", "devices", "prejoin", "room", "library"}
    assert all(len(path.relative_to(WEB).parts) > 1 for path in SCRIPTS), "a script outside all folders"


@pytest.mark.parametrize("path", SCRIPTS, ids=name)
def test_a_folder_imports_only_what_all_share(path: Path) -> None:
    folder = path.relative_to(WEB).parts[0]
    allowed = MAY_IMPORT.get(folder, SHARED) | {folder}
    targets = list(imported(path, path.read_text(encoding="utf-8")))
    assert [name(target) for target in targets if not target.is_file()] == []
    assert [name(target) for target in targets if target.relative_to(WEB).parts[0] not in allowed] == []


def test_no_imports_go_in_a_circle() -> None:
    graph = {path: set(imported(path, code_of(path))) for path in SCRIPTS}
    assert sum(map(len, graph.values())) > len(graph)
    list(TopologicalSorter(graph).static_order())  # raises CycleError


@pytest.mark.parametrize("path", sorted((WEB / "protocol").rglob("*.js")), ids=name)
def test_the_protocol_knows_no_page(path: Path) -> None:
    assert not re.search(r"\bdocument\b|\bHTML\w*Element\b|\blocalStorage\b", code_of(path))


@pytest.mark.parametrize("path", SCRIPTS, ids=name)
def test_what_is_asked_of_the_server_is_addressed_from_its_root(path: Path) -> None:
    source = re.sub(r"\baddress\([\"'`]", "address(", code_of(path))
    assert not re.search(
        r"[\"'`](?:\.\.?/|/)?(?:api/|shared/|icons\.svg|[\w-]+\.html(?! ))", without_imports(source)
    )


def without_imports(source: str) -> str:
    return re.sub(r'\bfrom "[^"]+"', "", source)


class Links(HTMLParser):
    """Collects what a page links to."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        link = given.get("src") or (given.get("href") if tag in ("link", "use") else None)
        if link:
            self.found.append(link)


@pytest.mark.parametrize("page", sorted(WEB.glob("*/index.html")), ids=name)
def test_all_that_a_page_links_to_is_there(page: Path) -> None:
    links = Links()
    links.feed(page.read_text(encoding="utf-8"))
    assert len(links.found) > 5
    assert [link for link in links.found if not (page.parent / link.partition("#")[0]).is_file()] == []


def preload(web: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(web / "preload.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_every_page_names_the_modules_it_is_made_of() -> None:
    done = preload(WEB, "--check")
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_page_that_lacks_a_module_is_noticed_and_mended(tmp_path: Path) -> None:
    copy = tmp_path / "web"
    shutil.copytree(WEB, copy, ignore=shutil.ignore_patterns("node_modules", "tests"))
    page = copy / "room" / "index.html"
    whole = page.read_text(encoding="utf-8")
    lacking = re.sub(r' *<link rel="modulepreload" href="\.\./protocol/peer\.js">\n', "", whole)
    assert lacking != whole
    page.write_text(lacking, encoding="utf-8")
    noticed = preload(copy, "--check")
    assert (noticed.returncode, noticed.stdout.split()[0]) == (1, "room/index.html")
    assert preload(copy).returncode == 0
    assert page.read_text(encoding="utf-8") == whole
