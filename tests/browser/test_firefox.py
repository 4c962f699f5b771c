"""Firefox as a browser of the first rank: what a site does in a conference, from a network of its own."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio
from bridge_process import BridgeServer
from firefox import FirefoxSite, firefox
from networks import Line, Network, clinic
from pages import PATIENCE_S, Camera, Site, Visitor, browsers
from pictures import BLUE, RED, name_of
from shelf import SEALED, library_served

pytestmark = [
    pytest.mark.browser,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.timeout(180),
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can make the network that Firefox needs"),
]

# The meter's source cannot be made, as with a headset of another rate.
FAILING_METER = """
void (AudioContext.prototype.createMediaStreamSource = () => {
  throw new DOMException("another rate", "NotSupportedError");
})
"""
# Packets that went out so far: of the microphone, and of each encoding of the camera.
SENT = """
hoichan.peer.pc.getStats().then((stats) => {
  const sent = { audio: 0 };
  for (const { type, kind, rid, packetsSent } of stats.values()) {
    if (type !== "outbound-rtp") continue;
    const name = kind === "audio" ? kind : rid;
    sent[name] = (sent[name] ?? 0) + packetsSent;
  }
  return sent;
})
"""
# The encodings of the camera that Firefox is to send.
ACTIVE = """
hoichan.peer.pc.getSenders().find(({ track }) => track?.kind === "video").getParameters().encodings
  .filter(({ active }) => active).map(({ rid }) => rid)
""".strip()
# What was agreed on for each picture that Firefox may be sent.
RECEIVED_PICTURES = """
hoichan.peer.pc.remoteDescription.sdp.split("\\r\\nm=").slice(1)
  .filter((one) => one.startsWith("video") && one.includes("a=sendonly"))
""".strip()
VIDEO_PACKETS = 20
FRAMES = 5
SHARES_MAX = 3
# What Firefox itself says of a line that is cut, and the page of a meter that a test makes fail.
EXPECTED_ERRORS = ("establish a connection to the server at ws", "no level of the microphone")
SHOWN = "document.querySelector('#controls').dataset.microphone"
MIDDLE_OF_VIDEO = """
async () => {
  const canvas = Object.assign(document.createElement("canvas"), { width: 1, height: 1 });
  const context = canvas.getContext("2d");
  const video = document.querySelector("#video");
  context.drawImage(video, video.videoWidth / 2, video.videoHeight / 2, 1, 1, 0, 0, 1, 1);
  return [...context.getImageData(0, 0, 1, 1).data.slice(0, 3)];
}
"""
TRANSPORT_WORDS = "document.querySelector('#transport-text').textContent"
CHAIR, PROVINCE, CLINIC = "Bệnh viện Bạch Mai", "Bệnh viện đa khoa Hà Giang", "Trạm y tế Lũng Cú"


@dataclass(frozen=True, slots=True)
class Conference:
    """Two Chromium pages with cameras of their own colours, and a Firefox in another network."""

    server: BridgeServer
    chair: Site
    province: Site
    clinic: FirefoxSite
    network: Network
    line: Line


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def conference(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Conference]:
    directory = tmp_path_factory.mktemp("firefox")
    with clinic(directory) as network:
        server = BridgeServer(directory / "bridge", environment={"HOICHAN_HTTP_HOST": "0.0.0.0"})
        await asyncio.to_thread(server.start)
        line = Line(server.http_port, host=network.server_host)
        await line.open()
        origin = f"http://{network.server_host}:{line.port}"
        try:
            async with browsers(directory) as started, firefox(CLINIC, network, origin) as fox:
                chair, province = await asyncio.gather(
                    started.site(CHAIR, Camera(RED), pitch_hz=150),
                    started.site(PROVINCE, Camera(BLUE), pitch_hz=230),
                )
                await asyncio.gather(
                    chair.open(server.link("chair", CHAIR)),
                    province.open(server.link("presenter", PROVINCE)),
                    fox.open(f"{origin}/room/#i={server.invite('presenter', CLINIC)}"),
                )
                for site in (chair, province, fox):
                    await site.join()
                yield Conference(server, chair, province, fox, network, line)
        finally:
            await line.close()
            if server.process is not None:
                server.stop()


async def test_firefox_sees_every_site_under_its_name(conference: Conference) -> None:
    await _sees_the_others(conference)


async def test_firefox_tells_when_each_packet_of_a_picture_arrived(conference: Conference) -> None:
    for section in await conference.clinic.evaluate(RECEIVED_PICTURES):
        assert "transport-wide-cc" in section
        assert "goog-remb" not in section
    deadline = time.monotonic() + PATIENCE_S
    while (telling := conference.server.metric("hoichan_legs_telling_arrivals")) < 3:
        assert time.monotonic() < deadline, f"{telling} of three tell of arrivals"
        await asyncio.sleep(0.1)


async def test_the_others_see_and_hear_firefox(conference: Conference) -> None:
    fox, chair = conference.clinic, conference.chair
    own = await fox.evaluate("hoichan.state.self")
    await chair.put_on_stage(CLINIC)
    await chair.until(f"hoichan.state.stage.participant === '{own}'", "Firefox on stage")
    await _pictures_move(chair, own)
    await chair.until(f"hoichan.state.voices.includes('{own}')", "its tone")


async def test_the_stage_changes_for_firefox_as_for_the_others(conference: Conference) -> None:
    fox = conference.clinic
    for choice in (conference.province, conference.chair, conference.province):
        clicked_ms = await conference.chair.put_on_stage(choice.name)
        # Two engines and three browsers share the machine: how soon is held by test_conference.
        await fox.first_seen_ms("stage", choice.colour, clicked_ms, within_s=PATIENCE_S)
    # A machine that is too busy for ICE's checks has it restarted; nothing else is negotiated.
    counts = await fox.negotiations()
    assert counts["createOffer"] <= 1 + counts["restartIce"]


async def test_a_mute_in_firefox_is_silence_and_told(conference: Conference) -> None:
    fox = conference.clinic
    await _microphone(conference, is_on=True)
    await fox.press("microphone")
    await _microphone(conference, is_on=False)
    await fox.press("microphone")
    await _microphone(conference, is_on=True)


async def test_firefox_shows_what_it_sends_whatever_becomes_of_its_microphone(conference: Conference) -> None:
    fox = conference.clinic
    # One that cannot be opened: the one before goes on.
    problem = await fox.evaluate(
        "hoichan.sources.choose('microphone', 'unplugged').then(() => '', error => error.problem)"
    )
    assert problem == "unsuitable"
    await _microphone(conference, is_on=True)
    # One that dies without a word, as on some phones when the camera is opened.
    await fox.evaluate("void hoichan.sources.track('microphone').stop()")
    for _ in range(2):
        await fox.press("camera")
    await _microphone(conference, is_on=False)
    # Another one, of a rate that the meter cannot take.
    await fox.evaluate(FAILING_METER)
    await fox.press("microphone")
    await _microphone(conference, is_on=True)
    assert not await fox.evaluate("hoichan.sources.isMeasuring")
    await fox.press("microphone")
    await _microphone(conference, is_on=False)
    await fox.press("microphone")
    await _microphone(conference, is_on=True)


async def test_firefox_sends_the_encodings_that_are_watched_and_no_others(conference: Conference) -> None:
    fox, chair = conference.clinic, conference.chair
    own = await _own(fox)
    # Who is on stage sees the one there who leads the conversation, or was there before: that is not to be
    # Firefox.
    await fox.press("microphone")
    for _ in range(2):
        await chair.put_on_stage(CLINIC)
        await chair.until(f"hoichan.state.stage.participant === '{own}'", "Firefox on stage")
        # Whether the line takes it is another matter, and this machine may be too busy for it.
        await fox.until(f"{ACTIVE}.includes('m')", "the large encoding switched on")
        await _pictures_move(chair, own)
        for site in (conference.chair, conference.province):
            await chair.put_on_stage(site.name)
            await site.until("hoichan.state.stage.participant === hoichan.state.self", "another one there")
        await fox.until(f"{ACTIVE}.join() === 'l'", "the small encoding alone switched on")
        await _until_sent(fox, lambda sent: sent == {"l"})
        await _pictures_move(chair, own)
    await fox.press("microphone")
    await _microphone(conference, is_on=True)


async def test_firefox_sees_what_is_shared(conference: Conference) -> None:
    fox, province = conference.clinic, conference.province
    # Chromium gives up a screen that a busy machine does not show it in time.
    for _ in range(SHARES_MAX):
        await province.press("share")
        await province.until("!hoichan.sources.isOpening('content')", "an answer of the screen")
        if await province.evaluate("hoichan.sources.isOn('content')"):
            break
    await fox.until("hoichan.state.content?.participant", "a share")
    await fox.until("document.querySelector('.pane.content video.remote')?.videoWidth > 0", "its picture")
    await province.press("share")
    await fox.until("!hoichan.state.content?.participant", "no share")


async def test_media_goes_on_in_firefox_while_its_websocket_is_cut(conference: Conference) -> None:
    fox = conference.clinic
    await fox.evaluate("void (window.kept = hoichan.peer.pc)")
    with conference.line.cut():
        await fox.until("hoichan.connection.state === 'reconnecting'", "a cut", within_s=10)
        await _pictures_move(fox)
    await fox.until("hoichan.connection.state === 'joined'", "the session")
    assert await fox.evaluate("hoichan.peer.pc === kept")


async def test_firefox_is_back_in_the_room_when_it_is_loaded_anew(conference: Conference) -> None:
    await _comes_back(conference)


async def test_firefox_goes_over_to_tcp_by_itself_when_udp_is_dropped(conference: Conference) -> None:
    fox = conference.clinic
    await fox.evaluate("void (window.kept = hoichan.peer.pc)")
    # A machine that is too busy for the checks of UDP has made ICE take TCP already.
    was_udp = conference.server.metric("hoichan_legs", protocol="tcp") == 0
    conference.network.drop_udp()
    await fox.until("hoichan.peer.report?.protocol === 'tcp' && hoichan.peer.isConnected", "TCP")
    await fox.until(f"{TRANSPORT_WORDS}.includes('TCP')", "words about TCP")
    assert await fox.evaluate("hoichan.peer.pc === kept")
    assert conference.network.udp_dropped() > 0 or not was_udp
    await _pictures_move(fox)
    await _pictures_move(conference.chair, await _own(fox))


async def test_firefox_is_back_over_tcp_when_it_is_loaded_anew(conference: Conference) -> None:
    await _comes_back(conference)
    await conference.clinic.until(f"{TRANSPORT_WORDS}.includes('TCP')", "words about TCP")
    assert conference.server.metric("hoichan_legs", protocol="tcp") == 1


async def test_firefox_plays_a_recording_of_the_library(conference: Conference, tmp_path: Path) -> None:
    fox = conference.clinic
    async with library_served(tmp_path, host=conference.network.server_host) as served:
        await fox.goto(f"{served.url}/library/#i={served.key}")
        row = f'.recording[data-package="{SEALED}"] a'
        await fox.until(f"document.querySelector('{row}')", "the recording in the list")
        assert await fox.evaluate("document.querySelectorAll('.recording').length") == 3
        await fox.click(row)
        await fox.until("document.querySelector('#video')?.readyState >= 2", "a picture")
        await fox.click("#player-controls button")
        await fox.until("!video.paused && video.currentTime > 0.3", "a playing video")
        assert name_of(await fox.evaluate(MIDDLE_OF_VIDEO)) == "red"
        await fox.click("#chapters li:nth-child(2) button")
        await fox.until("video.currentTime >= 4 && !video.seeking", "a place further on")
        await fox.until("!video.paused && video.currentTime > 4.3", "the video going on from there")
        assert name_of(await fox.evaluate(MIDDLE_OF_VIDEO)) == "green"


async def test_no_page_had_an_error(conference: Conference) -> None:
    assert conference.chair.errors == conference.province.errors == []
    errors = conference.clinic.errors
    assert [one for one in errors if not any(words in one for words in EXPECTED_ERRORS)] == []


async def _own(site: Visitor) -> str:
    """Return what the room calls this site's participant."""
    own: str = await site.evaluate("hoichan.state.self")
    return own


async def _sees_the_others(conference: Conference) -> None:
    fox = conference.clinic
    expected = {site.name: site.colour for site in (conference.chair, conference.province)}
    await fox.until("probe.thumbnails().filter(({ colour }) => colour).length === 2", "two thumbnails")
    assert await fox.thumbnails() == expected


async def _microphone(conference: Conference, *, is_on: bool) -> None:
    """Wait until Firefox shows its microphone as on or off, sends it or not, and the others are told."""
    fox = conference.clinic
    own = await _own(fox)
    await fox.until(f"{SHOWN} === '{'on' if is_on else 'off'}'", "what the button shows")
    await _until_sent(fox, lambda sent: ("audio" in sent) == is_on)
    for site in (conference.chair, conference.province):
        state = f"hoichan.state.roster.get('{own}').microphone"
        await site.until(f"{state} === '{'on' if is_on else 'muted'}'", "what the roster says")
        is_heard = f"hoichan.state.voices.includes('{own}')"
        await site.until(is_heard if is_on else f"!{is_heard}", "its tone" if is_on else "silence")
    assert await fox.evaluate(SHOWN) == ("on" if is_on else "off")


async def _until_sent(fox: FirefoxSite, is_right: Callable[[set[str]], bool]) -> None:
    """Wait until what goes out while some packets of video do is right: `audio`, and RIDs."""
    deadline = time.monotonic() + PATIENCE_S
    before = await fox.evaluate(SENT)
    moved: set[str] = set()
    while True:
        assert time.monotonic() < deadline, f"{fox.name} sends {moved}; {fox.errors}"
        await asyncio.sleep(0.05)
        after = await fox.evaluate(SENT)
        if sum(after.values()) - after["audio"] < sum(before.values()) - before["audio"] + VIDEO_PACKETS:
            continue
        moved = {name for name, count in after.items() if count > before.get(name, 0)}
        if is_right(moved):
            return
        before = after


async def _comes_back(conference: Conference) -> None:
    """Load the page in Firefox anew: it is in the room again, as the same participant, by itself."""
    fox = conference.clinic
    own = await _own(fox)
    await fox.reload()
    await fox.until("window.hoichan?.peer?.isConnected === true", "connected media")
    assert await fox.evaluate("hoichan.state.self") == own
    assert not await fox.evaluate("document.querySelector('#prejoin-join')?.checkVisibility() ?? false")
    await _sees_the_others(conference)
    await _pictures_move(fox)
    await _pictures_move(conference.chair, own)
    assert conference.server.metric("hoichan_participants") == 3


async def _pictures_move(site: Visitor, *participants: str) -> None:
    """Wait until a picture of each of these participants, or of all shown, has got frames since now."""
    deadline = time.monotonic() + PATIENCE_S
    first: dict[tuple[str, str], int] = {}
    moved: set[str] = set()
    shown = set(participants)
    while not shown or not shown <= moved:
        assert time.monotonic() < deadline, f"{site.name}: {moved} of {shown} moved; {site.errors}"
        await asyncio.sleep(0.05)
        pictures = {
            (mid, slot["participant"]): slot["frames"]
            for mid, slot in (await site.slots()).items()
            if slot["role"] != "voice"
        }
        shown = set(participants) or {participant for _, participant in pictures}
        for picture, frames in pictures.items():
            if frames >= first.setdefault(picture, frames) + FRAMES:
                moved.add(picture[1])
