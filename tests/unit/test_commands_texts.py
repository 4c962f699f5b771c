"""bridge/commands/texts.py: both languages say the same things."""

from string import Formatter

import pytest

from bridge.archive.model import Stage
from bridge.base.words import PackageState
from bridge.commands.texts import FAILURES, TEXTS, Speech, language


def fields(text: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(text) if name}


@pytest.mark.parametrize("key", [*TEXTS, *FAILURES])
def test_both_languages_have_the_same_values_in_every_text(key: str) -> None:
    text = (TEXTS | FAILURES)[key]
    assert text.vi
    assert text.en
    assert fields(text.vi) == fields(text.en)


def test_every_state_and_step_has_its_word() -> None:
    assert {f"state.{state.value}" for state in PackageState} <= TEXTS.keys()
    assert {f"stage.{stage.value}" for stage in Stage} <= TEXTS.keys()


@pytest.mark.parametrize(
    ("asked", "environment", "spoken"),
    [
        ("vi", {"LANG": "en_US.UTF-8"}, "vi"),
        (None, {"LANG": "vi_VN.UTF-8"}, "vi"),
        (None, {"LANG": "en_US.UTF-8", "LC_ALL": "vi_VN.UTF-8"}, "vi"),
        (None, {"LANG": "C.UTF-8"}, "en"),
        (None, {}, "en"),
    ],
)
def test_the_terminal_chooses_the_language_unless_it_is_asked_for(
    asked: str | None, environment: dict[str, str], spoken: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("LC_ALL", "LC_MESSAGES", "LANG"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert language(asked) == spoken


def test_a_failure_without_a_text_of_its_own_is_told_by_its_sentence() -> None:
    assert Speech("vi").failure("never-heard-of", "What happened.") == "What happened."
    assert Speech("vi").failure("disk-full", "No space left") == "ổ đĩa đã đầy (No space left)"
