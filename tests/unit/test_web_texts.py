"""The page's texts: both languages say the same things, and nothing visible bypasses them."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest

WEB = Path(__file__).parents[2] / "web"
SCRIPTS = sorted(
    path
    for path in WEB.rglob("*.js")
    if not {"node_modules", "tests"} & set(path.relative_to(WEB).parts)
    and path.name not in ("vi.js", "en.js", "abbreviations.js")
)
VIETNAMESE = re.compile(
    r"[àáảãạăằắẳẵặâầấẩẫậđèéẻẽẹêềếểễệìíỉĩịòóỏõọôồốổỗộơờớởỡợùúủũụưừứửữựỳýỷỹỵ]", re.IGNORECASE
)
PLACEHOLDER = re.compile(r"\{(\w+)\}")
KEY = re.compile(r"[a-z]+(?:\.[a-zA-Z-]+)+")
# What may stand in a string of the code without being a text: names, selectors, MIME types, paths.
TEXT_PLACES = ("text", "label", "title", "placeholder")


def read_texts(language: str) -> dict[str, str]:
    """The one object of a text module is plain JSON."""
    source = (WEB / "shared" / "text" / f"{language}.js").read_text(encoding="utf-8")
    texts: dict[str, str] = json.loads(source[source.index("= {") + 2 : source.rindex("}") + 1])
    return texts


VI = read_texts("vi")
EN = read_texts("en")


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


PAGE = Page()
for document in sorted(WEB.glob("*/*.html")):
    PAGE.feed(document.read_text(encoding="utf-8"))


def used_keys() -> Iterator[tuple[str, str]]:
    families = {key.partition(".")[0] for key in VI}
    for path in SCRIPTS:
        for literal in strings_of(path.read_text(encoding="utf-8")):
            if KEY.fullmatch(literal) and literal.partition(".")[0] in families:
                yield path.name, literal


def test_both_languages_have_the_same_texts() -> None:
    assert VI.keys() == EN.keys()


@pytest.mark.parametrize("key", sorted(VI))
def test_a_text_has_words_and_the_same_placeholders_in_both_languages(key: str) -> None:
    assert VI[key].strip()
    assert EN[key].strip()
    assert sorted(PLACEHOLDER.findall(VI[key])) == sorted(PLACEHOLDER.findall(EN[key]))


def test_every_text_the_code_names_exists() -> None:
    missing = [(name, key) for name, key in used_keys() if key not in VI and not key.endswith(".js")]
    assert missing == []


def test_every_text_the_page_names_exists() -> None:
    assert [key for key in PAGE.keys if key not in VI] == []


def test_every_text_is_used() -> None:
    literals = [literal for path in SCRIPTS for literal in strings_of(path.read_text(encoding="utf-8"))]
    used = set(PAGE.keys) | set(literals)
    # `role.${role}` and the like: a template whose fixed parts fit the key.
    patterns = [
        re.compile(r"[\w-]+".join(map(re.escape, re.split(r"\$\{.*?\}", literal))))
        for literal in literals
        if "${" in literal and re.match(r"[a-z]+\.", literal)
    ]
    unused = [key for key in VI if key not in used and not any(p.fullmatch(key) for p in patterns)]
    assert unused == []


def test_every_code_the_bridge_may_send_has_a_text() -> None:
    texts = pytest.importorskip("bridge.texts")
    families = {code.partition(":")[0] for code in texts.ERRORS}
    assert [family for family in sorted(families) if f"error.{family}" not in VI] == []


def test_every_role_level_and_source_has_a_text() -> None:
    from bridge.words import Level, Role, Source

    names = [f"role.{role}" for role in Role] + [f"level.{level}" for level in Level]
    names += [f"source.{source}" for source in Source]
    assert [name for name in names if name not in VI] == []


def test_the_page_itself_has_no_words() -> None:
    assert PAGE.words == []


def test_the_page_has_nothing_inline_that_the_content_security_policy_forbids() -> None:
    assert PAGE.inline == []


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
    named = set(PAGE.icons)
    for path in SCRIPTS:
        source = path.read_text(encoding="utf-8")
        named.update(re.findall(r'\bicon\("([\w-]+)"\)', source))
        named.update(re.findall(r'\bicon: "([\w-]+)"', source))
    assert named - symbols == set()


def node_tests() -> list[str]:
    return [str(path) for path in sorted((WEB / "tests").glob("*.test.js"))]


@pytest.mark.skipif(shutil.which("node") is None, reason="the tests of the page's pure modules need node")
def test_the_pure_modules_pass_their_own_tests() -> None:
    done = subprocess.run(
        ["node", "--test", *node_tests()], cwd=WEB, capture_output=True, text=True, timeout=110, check=False
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]


@pytest.mark.skipif(
    shutil.which("node") is None or not (WEB / "node_modules" / "typescript").is_dir(),
    reason="needs `npm ci` in web/",
)
def test_the_page_is_well_typed() -> None:
    done = subprocess.run(
        ["node", "node_modules/typescript/bin/tsc", "--project", "tsconfig.json"],
        cwd=WEB,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, done.stdout
