"""Recorded offers, and the answer a bridge that accepts everything gives to one."""

from pathlib import Path

from bridge.sdp import (
    AnswerPlan,
    AnswerSection,
    Offer,
    Section,
    Sending,
    build_answer,
    plan_publishing,
    plan_slot,
)

SAMPLES = Path(__file__).parents[1] / "samples"
NAMES = sorted(path.stem for path in SAMPLES.glob("*.sdp"))
FINGERPRINT = "sha-256 " + ":".join(["AB"] * 32)
CANDIDATES = [
    "1 1 udp 2130706431 127.0.0.1 9 typ host",
    "2 1 tcp 1518280447 127.0.0.1 9 typ host tcptype passive",
]


def sample(name: str) -> str:
    return (SAMPLES / f"{name}.sdp").read_bytes().decode()


def accept(section: Section) -> AnswerSection:
    """Use the m-line for all it can do."""
    slot = plan_slot(section)
    sending = None
    if slot is not None:
        sending = Sending(
            slot,
            ssrc=1000 + section.index,
            rtx_ssrc=2000 + section.index if slot.rtx_payload_types else None,
            cname="bridge",
            stream_id="stage",
            track_id=f"slot-{section.mid}",
        )
    return AnswerSection(section.mid, receiving=plan_publishing(section), sending=sending)


def plan_for(offer: Offer, *, without: tuple[str, ...] = ()) -> AnswerPlan:
    return AnswerPlan(
        ice_ufrag="bridgeufrag",
        ice_pwd="bridgepasswordbridgepassword",
        fingerprint=FINGERPRINT,
        candidates=CANDIDATES,
        sections=[accept(section) for section in offer.sections if section.mid not in without],
        dtls_role=offer.dtls_role,
        session_id=77,
        session_version=3,
    )


def answer_to(offer: Offer, *, without: tuple[str, ...] = ()) -> str:
    return build_answer(offer, plan_for(offer, without=without))


def m_lines(text: str) -> list[list[str]]:
    """Split a description into the lines of each m-line, the m-line itself first."""
    blocks: list[list[str]] = []
    for line in text.split("\r\n"):
        if line.startswith("m="):
            blocks.append([])
        if blocks and line:
            blocks[-1].append(line)
    return blocks
