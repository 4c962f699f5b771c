"""Write into each page's index.html which modules it is made of, so that a browser asks for all at once.

Without a bundler a browser finds the modules of a page one import after another, and each finding costs a
round trip. Run by `make web`; with --check it writes nothing and says which pages are out of date.
"""

import re
import sys
from pathlib import Path

WEB = Path(__file__).resolve().parent
_IMPORT = re.compile(r'^(?:(?:import|export)\b[^"\']*?\bfrom |import )"(\.[^"]+)";', re.MULTILINE)
_SCRIPT = re.compile(r'^( *)<script type="module" src="([^"]+)"></script>\n', re.MULTILINE)
_PRELOAD = re.compile(r'^ *<link rel="modulepreload" href="[^"]+">\n', re.MULTILINE)


def imports(module: Path) -> list[Path]:
    """Return the modules that a module imports at run time, in their order."""
    source = module.read_text(encoding="utf-8")
    return [(module.parent / path).resolve() for path in _IMPORT.findall(source)]


def modules(entry: Path) -> list[Path]:
    """Return the modules that a page's first one needs, itself left out, the nearest first."""
    found = [entry.resolve()]
    for module in found:
        found += [path for path in dict.fromkeys(imports(module)) if path not in found]
    return found[1:]


def preloaded(page: Path) -> str:
    """Return the text of an index.html with the links to all its modules."""
    text = _PRELOAD.sub("", page.read_text(encoding="utf-8"))
    script = _SCRIPT.search(text)
    if script is None:
        raise ValueError(f"{page}: there is no module script")
    indent, source = script.groups()
    links = "".join(
        f'{indent}<link rel="modulepreload" href="{_address(module, page.parent)}">\n'
        for module in modules(page.parent / source)
    )
    return text[: script.start()] + links + text[script.start() :]


def _address(module: Path, folder: Path) -> str:
    if module.is_relative_to(folder):
        return module.relative_to(folder).as_posix()
    return f"../{module.relative_to(WEB).as_posix()}"


def main(arguments: list[str]) -> int:
    old = 0
    for page in sorted(WEB.glob("*/index.html")):
        text = preloaded(page)
        if text == page.read_text(encoding="utf-8"):
            continue
        old += 1
        if "--check" in arguments:
            print(f"{page.relative_to(WEB)} is out of date: run `make web`")
        else:
            page.write_text(text, encoding="utf-8")
    return int("--check" in arguments and old > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
