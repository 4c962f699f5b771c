/**
 * Plays a video of several parts as one, the composed one or the content alone.
 * Knows nothing of controls; tells what changes.
 */

import { partAddress } from "./api.js";
import { language } from "../shared/text/text.js";
import { Timeline } from "./timeline.js";
import { bilingual } from "./vtt.js";

/** @typedef {import("./types.js").PackageDetail} PackageDetail */
/** @typedef {import("./vtt.js").Cue} Cue */
/** @typedef {"video" | "content"} Series */

export class Player {
  /**
   * @param {HTMLVideoElement} video
   * @param {() => void} changed  time, state or series
   */
  constructor(video, changed) {
    this.video = video;
    this.changed = changed;
    this.id = "";
    /** @type {Series} */
    this.series = "video";
    /** @type {Record<Series, Timeline>} */
    this.timelines = { video: new Timeline([], []), content: new Timeline([], []) };
    this.index = -1;
    /** @type {Cue[]} */
    this.cues = [];
    this.hasFailed = false;
    this.captions = video.addTextTrack("captions");
    this.captions.mode = "hidden";
    for (const event of ["timeupdate", "play", "pause", "volumechange", "waiting", "playing", "seeking", "seeked", "ratechange"]) {
      video.addEventListener(event, changed);
    }
    video.addEventListener("ended", () => this.goOn());
    video.addEventListener("error", () => {
      this.hasFailed = video.error !== null;
      changed();
    });
  }

  /**
   * @param {PackageDetail} detail
   * @param {Cue[]} cues  captions of the composed video
   */
  open(detail, cues) {
    this.id = detail.id;
    this.cues = cues;
    this.timelines = {
      video: new Timeline(detail.video, detail.recorded),
      content: new Timeline(detail.content, []),
    };
    this.series = detail.video.length > 0 ? "video" : "content";
    this.index = -1;
    this.seek(0);
  }

  close() {
    this.id = "";
    this.index = -1;
    this.video.removeAttribute("src");
    this.video.load();
  }

  get timeline() {
    return this.timelines[this.series];
  }

  get position() {
    return this.index < 0 ? 0 : this.timeline.positionIn(this.index, this.video.currentTime);
  }

  /** Where we are in the conference's time, Unix ms. */
  get moment() {
    return this.timeline.momentAt(this.position);
  }

  get isPlaying() {
    return !this.video.paused && !this.video.ended;
  }

  /** @param {number} position */
  seek(position) {
    if (this.timeline.parts.length === 0) return;
    const wish = Math.min(Math.max(position, 0), this.timeline.duration);
    const { index, offset } = this.timeline.locate(wish);
    if (index === this.index && !this.hasFailed) this.video.currentTime = offset;
    else this.load(index, offset);
    this.changed();
  }

  toggle() {
    if (this.isPlaying) this.video.pause();
    else if (this.position >= this.timeline.duration - 0.1) this.play(0);
    else this.play(this.position);
  }

  /** @param {number} position */
  play(position) {
    if (Math.abs(position - this.position) > 0.01 || this.hasFailed) this.seek(position);
    void this.video.play().catch(() => this.changed());
  }

  /** @param {Series} series */
  show(series) {
    if (series === this.series || this.timelines[series].parts.length === 0) return;
    const moment = this.moment;
    const wasPlaying = this.isPlaying;
    this.series = series;
    this.index = -1;
    this.seek(this.timeline.positionOf(moment));
    if (wasPlaying) void this.video.play().catch(() => this.changed());
  }

  /** @param {boolean} areShown */
  showCaptions(areShown) {
    this.captions.mode = areShown ? "showing" : "hidden";
  }

  /** The next part starts by itself. */
  goOn() {
    const next = this.index + 1;
    if (next < this.timeline.parts.length) {
      this.load(next, 0);
      void this.video.play().catch(() => this.changed());
    }
    this.changed();
  }

  /**
   * @param {number} index
   * @param {number} offset
   */
  load(index, offset) {
    const part = this.timeline.parts[index];
    if (!part) return;
    const wasPlaying = this.isPlaying;
    const rate = this.video.playbackRate;
    this.index = index;
    this.hasFailed = false;
    // It is the picture of the beginning, not of what follows.
    this.video.removeAttribute("poster");
    this.video.src = partAddress(this.id, this.series, part.number);
    // Before anything is loaded, this is where the browser will begin.
    this.video.currentTime = offset;
    this.video.playbackRate = rate;
    this.placeCues();
    if (wasPlaying) void this.video.play().catch(() => this.changed());
  }

  /** Captions are told for the whole video; the element knows one part. */
  placeCues() {
    const { index } = this;
    for (const cue of [...(this.captions.cues ?? [])]) this.captions.removeCue(cue);
    if (this.series !== "video") return;
    const start = this.timeline.starts[index] ?? 0;
    const end = this.timeline.starts[index + 1] ?? this.timeline.duration;
    for (const cue of this.cues) {
      if (cue.end > start && cue.start < end) {
        const text = bilingual(cue.text, language());
        this.captions.addCue(new VTTCue(Math.max(0, cue.start - start), cue.end - start, text));
      }
    }
  }
}
