"""A WHIP encoder made of GStreamer alone: `/usr/bin/python3 gstreamer_whip.py URL BEARER COLOUR`.

It runs under the system's Python, whose `gi` binds GStreamer; nothing of the bridge or of its libraries
is in the process. H.264 and Opus; one POST with all candidates. Prints `published LOCATION`, and ends the
session with DELETE when standard input is closed.
"""

import sys
import urllib.request

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstSdp", "1.0")
gi.require_version("GstWebRTC", "1.0")
from gi.repository import GLib, Gst, GstSdp, GstWebRTC  # noqa: E402

PIPELINE = """
    webrtcbin name=webrtc bundle-policy=max-bundle
    videotestsrc is-live=true pattern=solid-color foreground-color={colour}
        ! video/x-raw,width=640,height=360,framerate=15/1
        ! x264enc tune=zerolatency speed-preset=ultrafast bitrate=400 key-int-max=30 threads=1
        ! video/x-h264,profile=constrained-baseline
        ! h264parse ! rtph264pay config-interval=-1 aggregate-mode=zero-latency mtu=1200
        ! application/x-rtp,media=video,encoding-name=H264,payload=96,clock-rate=90000
        ! webrtc.
    audiotestsrc is-live=true wave=sine freq=600 volume=0.3
        ! audio/x-raw,rate=48000,channels=1 ! opusenc ! rtpopuspay
        ! application/x-rtp,media=audio,encoding-name=OPUS,payload=97
        ! webrtc.
"""


class Encoder:
    """One pipeline and its WHIP session."""

    def __init__(self, url: str, bearer: str, colour: str) -> None:
        self._url = url
        self._headers = {"Authorization": f"Bearer {bearer}"}
        self._is_posted = False
        self._loop = GLib.MainLoop()
        self._pipeline = Gst.parse_launch(PIPELINE.format(colour=colour))
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

    def _negotiation_needed(self, webrtc: Gst.Element) -> None:
        def created(promise: Gst.Promise) -> None:
            # The offer belongs to the reply, which must live as long.
            reply = promise.get_reply()
            webrtc.emit("set-local-description", reply.get_value("offer"), None)

        webrtc.emit("create-offer", None, Gst.Promise.new_with_change_func(created))

    def _gathering_changed(self, webrtc: Gst.Element, _: object) -> None:
        if webrtc.get_property("ice-gathering-state") == GstWebRTC.WebRTCICEGatheringState.COMPLETE:
            GLib.idle_add(self._post)

    def _post(self) -> bool:
        if self._is_posted:
            return False
        self._is_posted = True
        offer = self._webrtc.get_property("local-description").sdp.as_text()
        request = urllib.request.Request(
            self._url, offer.encode(), {**self._headers, "Content-Type": "application/sdp"}
        )
        with urllib.request.urlopen(request, timeout=10) as response:
            self.location = "/" + response.headers["Location"]
            text = response.read().decode()
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
