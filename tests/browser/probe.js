// Measures inside the page, so that what a test asserts does not depend on how late the test itself was.
// Times are Date.now(): one clock for all pages of the machine.
(() => {
  const COLOUR_SIDE_PX = 4;
  const LAG_INTERVAL_MS = 50;

  /** What happened to one video element. */
  class Watch {
    constructor() {
      this.frames = 0;
      this.firstAt = null;
      this.lastPresentation_ms = null;
      this.longestGap_ms = 0;
      /** Each change of colour class: when, and the colour seen then. */
      this.colours = [];
    }
  }

  const watches = new WeakMap();
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = COLOUR_SIDE_PX;
  const drawing = canvas.getContext("2d", { willReadFrequently: true });

  /** The colour in the middle of the picture, where the moving mark never is. */
  function colourOf(video) {
    const { videoWidth: width, videoHeight: height } = video;
    if (width < 16 || video.readyState < 2) return null;
    drawing.drawImage(video, width * 0.4, height * 0.4, width * 0.2, height * 0.2, 0, 0, COLOUR_SIDE_PX, COLOUR_SIDE_PX);
    const { data } = drawing.getImageData(0, 0, COLOUR_SIDE_PX, COLOUR_SIDE_PX);
    const sum = [0, 0, 0];
    for (let index = 0; index < data.length; index += 4) for (let part = 0; part < 3; part++) sum[part] += data[index + part];
    return sum.map((part) => Math.round(part / (COLOUR_SIDE_PX * COLOUR_SIDE_PX)));
  }

  function isSame(one, other) {
    return one !== undefined && other !== null && one.every((part, index) => Math.abs(part - other[index]) < 24);
  }

  function watch(video) {
    if (watches.has(video) || video.classList.contains("mirrored") || video.id === "preview-video") return;
    const seen = new Watch();
    watches.set(video, seen);
    const isLarge = Boolean(video.closest(".pane"));
    const frame = (now, { presentationTime }) => {
      video.requestVideoFrameCallback(frame);
      seen.frames += 1;
      seen.firstAt ??= Date.now();
      if (seen.lastPresentation_ms !== null) {
        seen.longestGap_ms = Math.max(seen.longestGap_ms, presentationTime - seen.lastPresentation_ms);
      }
      seen.lastPresentation_ms = presentationTime;
      // Reading pixels costs; the small pictures are read when a test asks.
      if (!isLarge) return;
      const colour = colourOf(video);
      if (colour && !isSame(seen.colours.at(-1)?.colour, colour)) seen.colours.push({ at: Date.now(), colour });
    };
    video.requestVideoFrameCallback(frame);
  }

  // Media events do not bubble, but they can be captured.
  document.addEventListener("loadstart", ({ target }) => target instanceof HTMLVideoElement && watch(target), true);

  // A timer that comes late means that the machine, not the conference, kept the page waiting.
  let longestLag_ms = 0;
  let ticked_ms = performance.now();
  setInterval(() => {
    const now = performance.now();
    longestLag_ms = Math.max(longestLag_ms, now - ticked_ms - LAG_INTERVAL_MS);
    ticked_ms = now;
  }, LAG_INTERVAL_MS);

  const clicks = [];
  document.addEventListener("click", ({ target }) => clicks.push({ at: Date.now(), id: target.closest("[id]")?.id ?? "" }), true);

  const negotiations = { createOffer: 0, setLocalDescription: 0, setRemoteDescription: 0, restartIce: 0 };
  for (const name of Object.keys(negotiations)) {
    const original = RTCPeerConnection.prototype[name];
    RTCPeerConnection.prototype[name] = function (...given) {
      negotiations[name] += 1;
      return original.apply(this, given);
    };
  }

  const large = (role) => document.querySelector(`.pane.${role} video.remote`);
  const shown = () => [...document.querySelectorAll("#tiles .tile:not(.self) video")].filter((video) => video.dataset.participant);

  window.probe = {
    clicks,
    negotiations,
    /** Colour of the large picture now, or null. */
    colour: (role) => {
      const video = large(role);
      return video?.dataset.participant && !video.closest(".pane").hidden ? colourOf(video) : null;
    },
    /** What the large picture showed at `since`, and each change after that. */
    history: (role, since) =>
      (watches.get(large(role))?.colours ?? []).filter((_, index, all) => !(all[index + 1]?.at <= since)),
    longestLag_ms: () => longestLag_ms,
    /** Begin to measure anew. */
    forget: (role) => {
      longestLag_ms = 0;
      const seen = watches.get(large(role));
      if (!seen) return;
      seen.longestGap_ms = 0;
      seen.colours = seen.colours.slice(-1);
    },
    /** The longest time the large picture stood still, up to now, since `forget`. */
    longestGap_ms: (role) => {
      const seen = watches.get(large(role));
      if (!seen || seen.lastPresentation_ms === null) return null;
      return Math.max(seen.longestGap_ms, performance.now() - seen.lastPresentation_ms);
    },
    /** Colours of the small pictures by the site that the page names for them. */
    thumbnails: () => shown().map((video) => ({ site: video.closest(".tile").dataset.site, colour: colourOf(video) })),
    /** When the first remote picture of all was on the page. */
    firstPictureAt: () => {
      const times = [large("stage"), ...shown()].map((video) => watches.get(video)?.firstAt).filter(Boolean);
      return times.length ? Math.min(...times) : null;
    },
    /** Frames decoded so far, and packets, by mid, of the slots that show something. */
    slots: async () => {
      const { peer, state } = window.hoichan;
      const found = {};
      for (const line of (await peer.pc.getStats()).values()) {
        if (line.type !== "inbound-rtp" || !state.slots.get(line.mid)) continue;
        const { role } = peer.slots.find(({ mid }) => mid === line.mid);
        found[line.mid] = {
          role,
          participant: state.slots.get(line.mid).participant,
          packets: line.packetsReceived,
          frames: line.framesDecoded ?? 0,
          height_px: line.frameHeight ?? 0,
          freezes_s: line.totalFreezesDuration ?? 0,
        };
      }
      return found;
    },
  };
})();
