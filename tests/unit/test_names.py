"""Names: one spelling, nothing that cannot be seen, and who vouches for them."""

import unicodedata
from dataclasses import replace

import pytest

from bridge.base.errors import InvalidMessage
from bridge.base.names import tidy_name
from bridge.base.schema import read_json
from bridge.base.words import Level, Role
from bridge.messages import Knock, Lock, Welcome, parse_client_message
from bridge.tokens import TokenKind, Tokens
from tests.unit.conference import Conference, channel

HUONG = "Nguyễn Thị Hương Đào"
DECOMPOSED = unicodedata.normalize("NFD", HUONG)


def test_both_spellings_of_a_name_are_one() -> None:
    assert HUONG != DECOMPOSED
    assert tidy_name(DECOMPOSED) == tidy_name(f" {HUONG} ") == HUONG


@pytest.mark.parametrize(
    "name",
    ["BS. An", "O'Neil-Trần (khoa 3)", "李医生", "Khoa Nhi 🩺", "Y", "Mường Nhé – phòng 2"],
)
def test_names_of_people_are_taken(name: str) -> None:
    assert tidy_name(name) == name


@pytest.mark.parametrize(
    "name",
    [
        "An\u202egnr\u1eddng",
        "An\u2066",
        "\u200b\u200d",
        "An\u200bBình",
        "An\u009b31m",
        "An\ue000",
        "An\u2028Bình",
        "An\u2029",
        "\ufeffAn",
        "12345",
        "...",
        "🩺",
        " ",
    ],
)
def test_names_that_show_nothing_or_something_else_are_refused(name: str) -> None:
    with pytest.raises(InvalidMessage, match="invalid-name"):
        tidy_name(name)
    conference = Conference()
    with pytest.raises(InvalidMessage, match="invalid-name"):
        conference.knock(name=name)
    assert conference.room.participants == {}


@pytest.mark.parametrize("character", ["\x80", "\x9b", "\x9f"])
def test_no_text_holds_controls_of_terminals(character: str) -> None:
    assert read_json(f'"{character}"') == character
    with pytest.raises(InvalidMessage, match="no control characters"):
        parse_client_message(f'{{"type":"chat","text":"a{character}b"}}')


def test_the_name_in_the_link_is_binding_and_ones_own_word_is_marked() -> None:
    conference = Conference()
    chair = conference.enter(Role.CHAIR)
    named = replace(conference.claims(Role.OBSERVER), name="ĐD. Lò Thị Mai")
    observer = conference.knock(claims=named, name="GS. Trưởng khoa")
    own = conference.knock(name=DECOMPOSED)
    (welcome,) = channel(own).of(Welcome)
    members = {member.participant: member for member in welcome.roster}
    assert (members[observer.id].name, members[observer.id].self_named) == ("ĐD. Lò Thị Mai", False)
    assert (members[own.id].name, members[own.id].self_named) == (HUONG, True)
    conference.ask(chair, Lock(True))
    conference.knock(name="GS. Trưởng khoa")
    conference.pass_time(1)
    (guest,) = channel(chair).of(Knock)[-1].waiting
    assert guest.self_named


def test_links_are_made_in_one_spelling_and_read_in_it() -> None:
    tokens = Tokens(b"s" * 32)

    def made(**claims: str) -> str:
        names = {"title": "Hội chẩn", "site": "BV", "name": "An"} | claims
        return tokens.invitation(room="r", level=Level.CENTRAL, role=Role.CHAIR, lifetime_s=60, **names)

    claims = tokens.read(made(site=DECOMPOSED, name=DECOMPOSED, title=DECOMPOSED), TokenKind.INVITATION)
    assert (claims.site, claims.name, claims.title) == (HUONG, HUONG, HUONG)
    # As an older version signed it.
    older = replace(claims, site=DECOMPOSED, name=None)
    assert tokens.read(tokens.join(older), TokenKind.JOIN).site == HUONG
    for wrong in ({"site": "\u202eBV"}, {"name": "123"}, {"title": "a\u200bb"}):
        with pytest.raises(InvalidMessage, match="invalid-name"):
            made(**wrong)
