/**
 * Which simulcast encodings a picture is sent in. Pure arithmetic.
 *
 * Chromium gives a simulcast sender only as many encodings as the captured
 * size deserves, and always the first ones of the list: at 640x360 only two
 * of three, so with the usual 4:2:1 scaling the full size would never be
 * sent. The plan below re-scales the encodings that remain, so that the
 * highest living one is always the captured size.
 */

/**
 * @typedef {object} EncodingPlan
 * @property {string} rid
 * @property {boolean} isUsable  the browser will really send it at this capture size
 * @property {number} scaleResolutionDownBy
 * @property {number} maxBitrate  bit/s
 * @property {number} [maxFramerate]
 */

/** Captured pixels from which Chromium sends three, two encodings. */
const THREE_ENCODINGS_PX = 960 * 540;
const TWO_ENCODINGS_PX = 480 * 270;
/** No share gets more than so many times the bit rate of 1920x1080: 8 Mbit/s. */
const CONTENT_SIZE_MAX = 3.2;

/**
 * Bit rate that suits a camera picture of this many pixels, at 30 frames/s.
 * 1280x720 -> 1.7 Mbit/s, 640x360 -> 500 kbit/s, 320x180 -> 150 kbit/s.
 * @param {number} pixels
 */
export function cameraBitrate(pixels) {
  if (pixels >= 1920 * 1080) return 3_000_000;
  if (pixels >= 1280 * 720) return 1_700_000;
  if (pixels >= 960 * 540) return 1_000_000;
  if (pixels >= 640 * 360) return 500_000;
  if (pixels >= 320 * 180) return 150_000;
  return 100_000;
}

/**
 * The three encodings l, m, h of a camera or an auxiliary device.
 * @param {number} widthPx
 * @param {number} heightPx
 * @returns {EncodingPlan[]}
 */
export function cameraPlan(widthPx, heightPx) {
  const pixels = widthPx * heightPx;
  const count = pixels >= THREE_ENCODINGS_PX ? 3 : pixels >= TWO_ENCODINGS_PX ? 2 : 1;
  return ["l", "m", "h"].map((rid, index) => {
    const scale = index < count ? 2 ** (count - 1 - index) : 1;
    return {
      rid,
      isUsable: index < count,
      scaleResolutionDownBy: scale,
      maxBitrate: cameraBitrate(pixels / (scale * scale)),
    };
  });
}

/**
 * The two encodings l, h of a shared screen: the full one for sharpness, a
 * half-size slow one for thin lines.
 * @param {number} widthPx
 * @param {number} heightPx
 * @returns {EncodingPlan[]}
 */
export function contentPlan(widthPx, heightPx) {
  const isSmall = widthPx * heightPx < TWO_ENCODINGS_PX;
  // A monitor of 4K or 5 MP has more lines to keep sharp.
  const size = Math.min(Math.max((widthPx * heightPx) / (1920 * 1080), 1), CONTENT_SIZE_MAX);
  return [
    { rid: "l", isUsable: true, scaleResolutionDownBy: isSmall ? 1 : 2, maxBitrate: Math.round(400_000 * size), maxFramerate: 10 },
    { rid: "h", isUsable: !isSmall, scaleResolutionDownBy: 1, maxBitrate: Math.round(2_500_000 * size), maxFramerate: 30 },
  ];
}

/**
 * Which encodings are active when the bridge wants `wanted`. A wanted rid
 * that the browser does not send at this size falls to the highest it does.
 * @param {EncodingPlan[]} plan
 * @param {readonly string[] | null} wanted  null: the bridge has not spoken yet, send all
 * @param {boolean} [isFresh]  the source was switched on just now: the bridge cannot want what it has
 *   never seen, so the lowest encoding shows it that there is something
 * @returns {Set<string>}
 */
export function activeRids(plan, wanted, isFresh = false) {
  const usable = plan.filter((encoding) => encoding.isUsable).map((encoding) => encoding.rid);
  if (wanted === null) return new Set(usable);
  const highest = usable[usable.length - 1];
  /** @type {Set<string>} */
  const active = new Set();
  for (const rid of wanted) {
    if (usable.includes(rid)) active.add(rid);
    else if (highest !== undefined) active.add(highest);
  }
  if (isFresh && active.size === 0 && usable[0] !== undefined) active.add(usable[0]);
  return active;
}
