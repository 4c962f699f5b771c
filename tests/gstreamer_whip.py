"""A WHIP encoder made of GStreamer alone: `/usr/bin/python3 gstreamer_whip.py URL BEARER COLOUR [HABITS]`.

It runs under the system's Python, whose `gi` binds GStreamer; nothing of the bridge or of its libraries
is in the process. H.264 and Opus; one POST with all candidates. Prints `published LOCATION`, or `refused`
with the status and what the server said, and ends the session with DELETE when standard input is closed.
`HABITS` is JSON, see there.
"""

import base64
import json
import re
import sys
import urllib.error
import urllib.request

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtp", "1.0")
gi.require_version("GstSdp", "1.0")
gi.require_version("GstWebRTC", "1.0")
from gi.repository import GLib, Gst, GstRtp, GstSdp, GstWebRTC  # noqa: E402

# What encoders differ in: pictures per second, pictures from one key frame to the next, slices of a picture,
# where parameter sets are (`stream`: before each key frame, `once`: before the first, `sdp`: in the offer
# alone), the payload type that is offered for video, whether requests for key frames are heard, and the ids
# of the header extension for the MID (RFC 8843) by kind of media.
HABITS = {
    "rate": 15,
    "gop": 30,
    "slices": 1,
    "sets": "stream",
    "payload_type": 96,
    "hears": True,
    "mid_ids": {},
}
SPS, PPS = 7, 8
MID = "urn:ietf:params:rtp-hdrext:sdes:mid"
PIPELINE = """
    webrtcbin name=webrtc bundle-policy=max-bundle
    videotestsrc is-live=true pattern=solid-color foreground-color={colour}
        ! video/x-raw,width=640,height=360,framerate={rate}/1
        ! x264enc name=encoder tune=zerolatency speed-preset=ultrafast bitrate=400 key-int-max={gop} threads=1
            option-string="slices={slices}:scenecut=0"
        ! video/x-h264,profile=constrained-baseline
        ! h264parse name=parser config-interval=0
        ! video/x-h264,stream-format=byte-stream,alignment={alignment}
        ! rtph264pay name=video config-interval={sets_every_s} aggregate-mode=zero-latency mtu=1200
        ! capssetter name=said
        ! application/x-rtp,media=video,encoding-name=H264,payload=96,clock-rate=90000
        ! webrtc.
    audiotestsrc is-live=true wave=sine freq=600 volume=0.3
        ! audio/x-raw,rate=48000,channels=1 ! opusenc ! rtpopuspay name=audio
        ! application/x-rtp,media=audio,encoding-name=OPUS,payload=97
        ! webrtc.
"""


class Encoder:
    """One pipeline and its WHIP session."""

    def __init__(self, url: str, bearer: str, colour: str, habits: str = "{}") -> None:
        self._url = url
        self._headers = {"Authorization": f"Bearer {bearer}"}
        self._is_posted = False
        self._loop = GLib.MainLoop()
        chosen = {**HABITS, **json.loads(habits)}
        is_edited = chosen["sets"] != "stream"
        self._pipeline = Gst.parse_launch(
            PIPELINE.format(
                colour=colour,
                # Units come one by one where some are to be dropped.
                alignment="nal" if is_edited else "au",
                sets_every_s=0 if is_edited else -1,
                **chosen,
            )
        )
        self._is_offered_only = chosen["sets"] == "sdp"
        self._sets: dict[int, bytes] = {}
        if is_edited:
            pad = self._pipeline.get_by_name("parser").get_static_pad("src")
            pad.add_probe(Gst.PadProbeType.BUFFER, self._edit)
        self._payload_type = chosen["payload_type"]
        if not chosen["hears"]:
            pad = self._pipeline.get_by_name("encoder").get_static_pad("src")
            pad.add_probe(Gst.PadProbeType.EVENT_UPSTREAM, self._hear)
        for kind, identifier in chosen["mid_ids"].items():
            extension = GstRtp.RTPHeaderExtension.create_from_uri(MID)
            extension.set_id(identifier)
            self._pipeline.get_by_name(kind).emit("add-extension", extension)
        self._webrtc = self._pipeline.get_by_name("webrtc")
        self.location = ""

    def run(self) -> None:
        """Publish until standard input is closed."""
        self._webrtc.connect("on-negotiation-needed", self._negotiation_needed)
        self._webrtc.connect("notify::ice-gathering-state", self._gathering_changed)
        bus = self._pipeline.get_bus()
        bus.add_signal_watch()
        bus.connect("message::error", self._failed)
        GLib.io_add_watch(0, GLib.PRIORITY_DEFAULT, GLib.IOCondition.HUP | GLib.IOCondition.IN, self._told)
        self._pipeline.set_state(Gst.State.PLAYING)
        self._loop.run()
        self._pipeline.set_state(Gst.State.NULL)

    def _edit(self, _: Gst.Pad, info: Gst.PadProbeInfo) -> Gst.PadProbeReturn:
        """Let each parameter set pass once, or only its text into the offer."""
        buffer = info.get_buffer()
        unit = buffer.extract_dup(0, buffer.get_size()).lstrip(b"\0")[1:]
        kind = unit[0] & 0x1F
        if kind not in (SPS, PPS):
            return Gst.PadProbeReturn.OK
        is_first = kind not in self._sets
        self._sets.setdefault(kind, unit)
        if not self._is_offered_only:
            return Gst.PadProbeReturn.OK if is_first else Gst.PadProbeReturn.DROP
        if len(self._sets) == 2:
            text = ",".join(base64.b64encode(self._sets[one]).decode() for one in (SPS, PPS))
            caps = Gst.Caps.from_string(f'application/x-rtp,sprop-parameter-sets=(string)"{text}"')
            self._pipeline.get_by_name("said").set_property("caps", caps)
        return Gst.PadProbeReturn.DROP

    def _hear(self, _: Gst.Pad, info: Gst.PadProbeInfo) -> Gst.PadProbeReturn:
        """Let nobody ask for a key frame."""
        structure = info.get_event().get_structure()
        is_request = structure is not None and structure.get_name() == "GstForceKeyUnit"
        return Gst.PadProbeReturn.DROP if is_request else Gst.PadProbeReturn.OK

    def _negotiation_needed(self, webrtc: Gst.Element) -> None:
        def created(promise: Gst.Promise) -> None:
            # The offer belongs to the reply, which must live as long.
            reply = promise.get_reply()
            offer = reply.get_value("offer")
            if self._is_offered_only and "sprop-parameter-sets" not in offer.sdp.as_text():
                # The encoder has not come to its first picture yet; an offer says what is known so far.
                GLib.timeout_add(50, offer_again)
                return
            webrtc.emit("set-local-description", offer, None)

        def offer_again() -> bool:
            webrtc.emit("create-offer", None, Gst.Promise.new_with_change_func(created))
            return False

        offer_again()

    def _gathering_changed(self, webrtc: Gst.Element, _: object) -> None:
        if webrtc.get_property("ice-gathering-state") == GstWebRTC.WebRTCICEGatheringState.COMPLETE:
            GLib.idle_add(self._post)

    def _post(self) -> bool:
        if self._is_posted:
            return False
        self._is_posted = True
        offer = self._webrtc.get_property("local-description").sdp.as_text()
        # The payloader itself knows dynamic types alone.
        offer = re.sub(
            r"(m=video \d+ \S+ |a=(?:rtpmap|fmtp|rtcp-fb):)96\b", rf"\g<1>{self._payload_type}", offer
        )
        request = urllib.request.Request(
            self._url, offer.encode(), {**self._headers, "Content-Type": "application/sdp"}
        )
        try:
            with urllib.request.urlopen(request, timeout=10) as response:
                self.location = "/" + response.headers["Location"]
                text = response.read().decode()
        except urllib.error.HTTPError as error:
            print("refused", error.code, error.read().decode(), flush=True)
            self._loop.quit()
            return False
        _, answer = GstSdp.SDPMessage.new_from_text(text)
        self._webrtc.emit(
            "set-remote-description",
            GstWebRTC.WebRTCSessionDescription.new(GstWebRTC.WebRTCSDPType.ANSWER, answer),
            None,
        )
        print("published", self.location, flush=True)
        return False

    def _told(self, *_: object) -> bool:
        origin = "/".join(self._url.split("/")[:3])
        request = urllib.request.Request(origin + self.location, headers=self._headers, method="DELETE")
        with urllib.request.urlopen(request, timeout=10) as response:
            print("deleted", response.status, flush=True)
        self._loop.quit()
        return False

    def _failed(self, _: Gst.Bus, message: Gst.Message) -> None:
        print("failed", message.parse_error(), file=sys.stderr, flush=True)
        self._loop.quit()


if __name__ == "__main__":
    Gst.init(None)
    Encoder(*sys.argv[1:]).run()
