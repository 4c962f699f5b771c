"""The page's texts: both languages say the same things, and nothing visible bypasses them."""

import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest

WEB = Path(__file__).parents[2] / "web"
# Who has texts, and where a page's words may come from: its own folder and those it is made of.
TEXTS = {
    "shared": "shared/text/common",
    "devices": "devices/texts",
    "prejoin": "prejoin/texts",
    "room": "room/texts",
    "library": "library/texts",
}
SPEAKS = {
    "shared": ("shared",),
    "protocol": (),
    "devices": ("devices", "shared"),
    "prejoin": ("prejoin", "devices", "shared"),
    "room": ("room", "prejoin", "devices", "shared"),
    "library": ("library", "shared"),
}
SCRIPTS = sorted(
    path
    for path in WEB.rglob("*.js")
    if not {"node_modules", "tests"} & set(path.relative_to(WEB).parts)
    and not re.search(r"\.(?:vi|en)\.js$|^abbreviations\.js$", path.name)
)
VIETNAMESE = re.compile(
    r"[àáảãạăằắẳẵặâầấẩẫậđèéẻẽẹêềếểễệìíỉĩịòóỏõọôồốổỗộơờớởỡợùúủũụưừứửữựỳýỷỹỵ]", re.IGNORECASE
)
PLACEHOLDER = re.compile(r"\{(\w+)\}")
KEY = re.compile(r"[a-z]+(?:\.[a-zA-Z-]+)+")
# What may stand in a string of the code without being a text: names, selectors, MIME types, paths.
TEXT_PLACES = ("text", "label", "title", "placeholder")


def folder_of(path: Path) -> str:
    return path.relative_to(WEB).parts[0]


def read_texts(folder: str, language: str) -> dict[str, str]:
    """The one object of a text module is plain JSON."""
    source = (WEB / f"{TEXTS[folder]}.{language}.js").read_text(encoding="utf-8")
    texts: dict[str, str] = json.loads(source[source.index("= {") + 2 : source.rindex("}") + 1])
    return texts


VI_OF = {folder: read_texts(folder, "vi") for folder in TEXTS}
EN_OF = {folder: read_texts(folder, "en") for folder in TEXTS}
VI = {key: text for texts in VI_OF.values() for key, text in texts.items()}
EN = {key: text for texts in EN_OF.values() for key, text in texts.items()}


def within_reach(folder: str) -> set[str]:
    """Return the keys that the scripts and the page of a folder may name."""
    return {key for spoken in SPEAKS[folder] for key in VI_OF[spoken]}


def strings_of(source: str) -> Iterator[str]:
    """Yield the string and template literals of a script, comments left out."""
    token = re.compile(
        r"""//[^\n]*|/\*.*?\*/|"((?:[^"\\\n]|\\.)*)"|'((?:[^'\\\n]|\\.)*)'|`((?:[^`\\]|\\.)*)`""", re.DOTALL
    )
    for match in token.finditer(source):
        for literal in match.groups():
            if literal is not None:
                yield literal


class Page(HTMLParser):
    """Collects what an HTML file says and which texts it names."""

    def __init__(self) -> None:
        super().__init__()
        self.words: list[str] = []
        self.keys: list[str] = []
        self.inline: list[str] = []
        self.icons: list[str] = []
        self._is_script = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self._is_script = tag == "script" and "src" not in given
        if self._is_script or tag == "style" or "style" in given:
            self.inline.append(tag)
        self.inline.extend(name for name in given if name.startswith("on"))
        self.words.extend(
            given[name] for name in ("aria-label", "title", "placeholder", "alt") if given.get(name)
        )
        self.keys.extend(given[f"data-{place}"] for place in TEXT_PLACES if f"data-{place}" in given)
        if tag == "use":
            self.icons.append(given["href"].partition("#")[2])

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.words.append(data.strip())


def read_page(document: Path) -> Page:
    page = Page()
    page.feed(document.read_text(encoding="utf-8"))
    return page


PAGES = {folder_of(document): read_page(document) for document in sorted(WEB.glob("*/index.html"))}


def used_keys() -> Iterator[tuple[Path, str]]:
    families = {key.partition(".")[0] for key in VI}
    for path in SCRIPTS:
        for literal in strings_of(path.read_text(encoding="utf-8")):
            if KEY.fullmatch(literal) and literal.partition(".")[0] in families:
                yield path, literal


def test_every_folder_with_texts_is_known() -> None:
    assert {folder_of(path) for path in WEB.glob("*/texts.vi.js")} | {"shared"} == TEXTS.keys()
    assert {folder_of(path) for path in SCRIPTS} == SPEAKS.keys()


@pytest.mark.parametrize("folder", TEXTS)
def test_both_languages_have_the_same_texts(folder: str) -> None:
    assert VI_OF[folder].keys() == EN_OF[folder].keys()


def test_no_text_is_in_two_folders() -> None:
    assert len(VI) == sum(map(len, VI_OF.values()))


@pytest.mark.parametrize("key", sorted(VI))
def test_a_text_has_words_and_the_same_placeholders_in_both_languages(key: str) -> None:
    assert VI[key].strip()
    assert EN[key].strip()
    assert sorted(PLACEHOLDER.findall(VI[key])) == sorted(PLACEHOLDER.findall(EN[key]))


def test_every_text_the_code_names_is_within_its_reach() -> None:
    missing = [
        (path.name, key)
        for path, key in used_keys()
        if key not in within_reach(folder_of(path)) and not key.endswith(".js")
    ]
    assert missing == []


@pytest.mark.parametrize("folder", PAGES)
def test_every_text_the_page_names_is_within_its_reach(folder: str) -> None:
    assert [key for key in PAGES[folder].keys if key not in within_reach(folder)] == []


def said_by(folder: str) -> set[str]:
    """Return the texts that a folder says, by their keys or by a template whose fixed parts fit them."""
    sources = [path.read_text(encoding="utf-8") for path in SCRIPTS if folder_of(path) == folder]
    literals = {literal for source in sources for literal in strings_of(source)}
    # `role.${role}` and the like.
    patterns = [
        re.compile(r"[\w-]+".join(map(re.escape, re.split(r"\$\{.*?\}", literal))))
        for literal in literals
        if "${" in literal and re.match(r"[a-z]+\.", literal)
    ]
    said = literals | set(PAGES[folder].keys if folder in PAGES else ())
    return {key for key in VI if key in said or any(pattern.fullmatch(key) for pattern in patterns)}


def test_every_text_is_said_where_it_is_within_reach() -> None:
    said = {key for folder in SPEAKS for key in said_by(folder) & within_reach(folder)}
    assert sorted(VI.keys() - said) == []


def test_every_code_the_bridge_may_send_has_a_text() -> None:
    texts = pytest.importorskip("bridge.messages.texts")
    families = {code.partition(":")[0] for code in texts.ERRORS}
    assert [family for family in sorted(families) if f"error.{family}" not in VI] == []


def test_every_role_level_and_source_has_a_text() -> None:
    from bridge.base.words import Level, Role, Source

    names = [f"role.{role}" for role in Role] + [f"level.{level}" for level in Level]
    names += [f"source.{source}" for source in Source]
    assert [name for name in names if name not in VI] == []


def test_the_page_itself_has_no_words() -> None:
    assert [page.words for page in PAGES.values() if page.words] == []


def test_the_page_has_nothing_inline_that_the_content_security_policy_forbids() -> None:
    assert [page.inline for page in PAGES.values() if page.inline] == []


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.relative_to(WEB).as_posix())
def test_the_code_has_no_vietnamese_words(path: Path) -> None:
    said = [literal for literal in strings_of(path.read_text(encoding="utf-8")) if VIETNAMESE.search(literal)]
    assert said == []


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.relative_to(WEB).as_posix())
def test_the_code_has_no_english_sentences(path: Path) -> None:
    source = re.sub(r"(?:throw )?new Error\(.*?\)", "", path.read_text(encoding="utf-8"))
    sentence = re.compile(r"[A-Z][a-z]+(?: [a-z]+)+")
    said = [literal for literal in strings_of(source) if sentence.match(literal)]
    assert said == []


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.relative_to(WEB).as_posix())
def test_texts_reach_the_page_only_through_text_js(path: Path) -> None:
    if path.name == "text.js":
        pytest.skip("the one that writes them")
    source = path.read_text(encoding="utf-8")
    assert not re.search(r"(?:textContent|innerText|title)\s*=\s*[\"'][^\"']", source)
    assert not re.search(r"innerHTML|insertAdjacentHTML|outerHTML|document\.write", source)
    assert not re.search(r"setAttribute\(\"(?:aria-label|title|placeholder|alt)\"", source)


def test_vietnamese_texts_are_composed_letters() -> None:
    import unicodedata

    assert [key for key, text in VI.items() if unicodedata.normalize("NFC", text) != text] == []


def test_every_icon_exists() -> None:
    symbols = set(
        re.findall(r'<symbol id="([\w-]+)"', (WEB / "shared" / "icons.svg").read_text(encoding="utf-8"))
    )
    named = {icon for page in PAGES.values() for icon in page.icons}
    for path in SCRIPTS:
        source = path.read_text(encoding="utf-8")
        named.update(re.findall(r'\bicon\("([\w-]+)"\)', source))
        named.update(re.findall(r'\bicon: "([\w-]+)"', source))
    assert named - symbols == set()
