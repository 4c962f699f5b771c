"""bridge/commands/texts.py: both languages say the same things."""

from string import Formatter

import pytest

from bridge.archive.model import Stage
from bridge.base.words import ConsentState, Disposition, PackageState, RetentionClass, Role
from bridge.commands.texts import FAILURES, TEXTS, Speech, language
from bridge.store.audit import Action


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


def test_the_command_line_has_a_word_for_everything_that_it_shows() -> None:
    words = [f"role.{role.value}" for role in Role]
    words += [f"retention.{kind.value}" for kind in RetentionClass]
    words += [f"consent.{state.value}" for state in ConsentState]
    words += [f"disposition.{decision.value}" for decision in Disposition]
    words += [f"action.{action.value}" for action in Action]
    assert [word for word in words if word not in TEXTS] == []


@pytest.mark.parametrize(
    ("stored", "shown"),
    [
        ("command line", "dòng lệnh của máy chủ"),
        ("secretary, Phòng lưu trữ, CN. Lan", "thư ký, Phòng lưu trữ, CN. Lan"),
        ("somebody, else", "somebody, else"),
    ],
)
def test_who_did_something_is_told_in_the_readers_language(stored: str, shown: str) -> None:
    assert Speech("vi").who(stored) == shown
