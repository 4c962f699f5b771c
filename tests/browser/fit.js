// What of a page's text cannot be read: printed over other text, cut off by what holds it, or half under
// something else. Measured by the rectangles of the text itself, not of its boxes.
() => {
  const OPAQUE = 0.9;
  // A letter's box is higher than the letter: lines that touch do not overlap.
  const INNER = 0.1;
  const SLACK_PX = 1.5;

  const dialog = document.querySelector("dialog[open]");
  const root = dialog ?? document.body;

  const isShown = (node) =>
    node.checkVisibility({ opacityProperty: true, visibilityProperty: true }) && !node.closest(".visually-hidden, option, select, svg");

  const background = (node) => {
    const colour = getComputedStyle(node).backgroundColor.match(/[\d.]+/g)?.map(Number) ?? [0, 0, 0, 0];
    return colour.length < 4 ? 1 : colour[3];
  };

  const nameOf = (node) => {
    const place = node.closest("[id]")?.id ?? "";
    return `${place ? `#${place} ` : ""}${node.className || node.localName}`;
  };

  /**
   * Whether the text may end in an ellipsis: the whole of it is in a title, at most with its first word written
   * out there, and it is data, not a statement.
   */
  const mayEndInEllipsis = (node, text) => {
    const style = getComputedStyle(node);
    const hasEllipsis = style.textOverflow === "ellipsis" || style.webkitLineClamp !== "none";
    return hasEllipsis && !node.dataset.text && (node.closest("[title]")?.title ?? "").includes(text.replace(/^[A-ZĐ]+ /, ""));
  };

  const found = [];
  const texts = [];
  const walker = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const text = walker.currentNode;
    const holder = text.parentElement;
    const words = text.data.trim();
    if (!words || !holder || !isShown(holder)) continue;
    const range = document.createRange();
    range.selectNodeContents(text);
    for (const box of range.getClientRects()) {
      if (box.width < 1 || box.height < 1) continue;
      let left = box.left, right = box.right;
      let top = box.top + box.height * INNER, bottom = box.bottom - box.height * INNER;
      let isCut = false;
      for (let around = holder; around; around = around.parentElement) {
        const style = getComputedStyle(around);
        if (style.display === "inline") continue;
        const edge = around.getBoundingClientRect();
        for (const [axis, low, high] of [["overflowX", "left", "right"], ["overflowY", "top", "bottom"]]) {
          if (style[axis] === "visible") continue;
          const [from, to] = axis === "overflowX" ? [left, right] : [top, bottom];
          const isOutside = from < edge[low] - SLACK_PX || to > edge[high] + SLACK_PX;
          // What can be scrolled into view is not lost.
          const scrolls = style[axis] === "auto" || style[axis] === "scroll";
          if (isOutside && !scrolls && !mayEndInEllipsis(around, words)) isCut = true;
        }
        if (style.overflowX !== "visible") [left, right] = [Math.max(left, edge.left), Math.min(right, edge.right)];
        if (style.overflowY !== "visible") [top, bottom] = [Math.max(top, edge.top), Math.min(bottom, edge.bottom)];
        if (style.position === "fixed") break;
      }
      if (isCut) found.push(`cut off: ${JSON.stringify(words)} in ${nameOf(holder)}`);
      if (right - left < 1 || bottom - top < 1) continue;
      if (left < -SLACK_PX || right > innerWidth + SLACK_PX) found.push(`outside: ${JSON.stringify(words)} in ${nameOf(holder)}`);
      if (bottom < 0 || top > innerHeight) continue;
      texts.push({ words, holder, left, right, top, bottom });
    }
  }

  /** What lies over a text at a place of it, opaque and not its own. */
  const coverOf = ({ holder }, x, y) => {
    for (const above of document.elementsFromPoint(x, y)) {
      if (above.contains(holder) || holder.contains(above)) return null;
      for (let around = above; around && !around.contains(holder); around = around.parentElement) {
        if (background(around) >= OPAQUE) return around;
      }
    }
    return null;
  };

  const seen = [];
  for (const text of texts) {
    const y = Math.min(Math.max((text.top + text.bottom) / 2, 0), innerHeight - 1);
    const inside = (x) => Math.min(Math.max(x, 0), innerWidth - 1);
    const covers = [0.02, 0.25, 0.5, 0.75, 0.98].map((part) => coverOf(text, inside(text.left + part * (text.right - text.left)), y));
    const count = covers.filter(Boolean).length;
    if (count > 0 && count < covers.length) {
      found.push(`half covered: ${JSON.stringify(text.words)} in ${nameOf(text.holder)} by ${nameOf(covers.find(Boolean))}`);
    }
    if (count < covers.length) seen.push(text);
  }
  for (const [index, one] of seen.entries()) {
    for (const other of seen.slice(index + 1)) {
      if (one.holder === other.holder) continue;
      const width = Math.min(one.right, other.right) - Math.max(one.left, other.left);
      const height = Math.min(one.bottom, other.bottom) - Math.max(one.top, other.top);
      if (width > SLACK_PX && height > SLACK_PX) {
        found.push(`overlap: ${JSON.stringify(one.words)} in ${nameOf(one.holder)} and ${JSON.stringify(other.words)} in ${nameOf(other.holder)}`);
      }
    }
  }
  return [...new Set(found)];
}
