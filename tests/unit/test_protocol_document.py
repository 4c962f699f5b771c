"""`docs/protocol.md` says what `bridge/messages/` does: every type, field, bound, word and code."""

import re
from enum import StrEnum
from pathlib import Path

import pytest

from bridge import messages
from bridge.api import problems
from bridge.base import schema, words
from bridge.conference.participants import CloseCode
from bridge.messages.texts import ERRORS

DOCUMENT = (Path(__file__).parents[2] / "docs" / "protocol.md").read_text(encoding="utf-8")
OBJECTS = {cls.__name__: cls for cls in messages.OBJECTS}
WORDS = (
    words.Role,
    words.Source,
    words.SlotRole,
    words.PauseReason,
    words.Weakness,
    words.Level,
    messages.StageMode,
    messages.MicrophoneState,
    messages.KnockReason,
    messages.CameraState,
    messages.MediaProtocol,
    words.CaseState,
    words.ConsentState,
    words.RecordAction,
    words.RecordingState,
    words.WaitingReason,
    words.RecordProblem,
)


def chapter(title: str) -> str:
    """Return what stands between this heading of the second level and the next one."""
    return DOCUMENT.split(f"\n## {title}\n")[1].split("\n## ")[0]


def sections(title: str) -> dict[str, str]:
    parts = re.split(r"^### `(.+)`$", chapter(title), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def rows(text: str) -> list[list[str]]:
    """Return the cells of the table in the text, without its head."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def documented_fields(section: str) -> dict[str, tuple[str, bool]]:
    return {name.removesuffix("?").strip("`"): (kind, name.endswith("?")) for name, kind, _ in rows(section)}


def fields_of(cls: type) -> dict[str, tuple[str, bool]]:
    annotations = schema.annotations_of(cls)
    return {name: (schema.describe(kind), optional) for name, (kind, optional) in annotations.items()}


@pytest.mark.parametrize(
    ("title", "registry"),
    [
        ("From the client", messages.CLIENT_MESSAGES),
        ("From the bridge", messages.BRIDGE_MESSAGES),
        ("Objects", OBJECTS),
    ],
)
def test_the_document_has_every_type_and_no_other(title: str, registry: dict[str, type]) -> None:
    assert list(sections(title)) == list(registry)


@pytest.mark.parametrize(
    ("title", "name", "cls"),
    [
        (title, name, cls)
        for title, registry in (
            ("From the client", messages.CLIENT_MESSAGES),
            ("From the bridge", messages.BRIDGE_MESSAGES),
            ("Objects", OBJECTS),
        )
        for name, cls in registry.items()
    ],
)
def test_every_field_is_documented_with_its_type_and_bounds(title: str, name: str, cls: type) -> None:
    section = sections(title)[name]
    assert documented_fields(section) == fields_of(cls)
    assert cls.__doc__ is not None
    assert cls.__doc__ in section
    assert all(meaning for _, _, meaning in rows(section))


def test_every_word_is_documented_with_its_values() -> None:
    def values(word: type[StrEnum]) -> str:
        return ", ".join(f"`{member.value}`" for member in word)

    assert rows(chapter("Words")) == [[f"`{word.__name__}`", values(word)] for word in WORDS]


def test_every_name_in_a_type_is_an_object_or_a_word_of_the_document() -> None:
    known = {*OBJECTS, *(word.__name__ for word in WORDS)}
    for title in ("From the client", "From the bridge", "Objects"):
        for section in sections(title).values():
            for kind, _ in documented_fields(section).values():
                assert set(re.findall(r"`(\w+)`", kind)) <= known


def test_every_error_code_is_documented() -> None:
    assert [code.strip("`") for code, _ in rows(chapter("Error codes"))] == list(ERRORS)
    # Each has a sentence for people, those of devices too.
    assert problems._STATUS.keys() <= ERRORS.keys()


def test_every_close_code_is_documented() -> None:
    codes = {value for name, value in vars(CloseCode).items() if not name.startswith("_")}
    assert codes <= {int(code) for code, _, _ in rows(chapter("Close codes"))}


def test_the_examples_numbers_are_those_of_the_code() -> None:
    assert f"at most {messages.MESSAGE_MAX_BYTES:,} bytes" in DOCUMENT
    assert f"stay for\n{messages.RESUME_WINDOW_S} s" in DOCUMENT
    assert messages.SUBPROTOCOL in DOCUMENT
    assert f"# Signalling protocol, version {messages.PROTOCOL_VERSION}\n" in DOCUMENT
