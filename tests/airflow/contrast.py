"""Measures in a browser whether a page can be read: text against what is behind it, and borders and parts of charts too."""

from typing import Any

TEXT, LARGE, PART = 4.5, 3.0, 3.0
"""The least contrast of WCAG 2.2 AA: of text, of large text, and of what marks a field or a part of a chart."""

_SCRIPT = """
const [TEXT, LARGE, PART] = arguments, canvas = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
const rgba = (colour) => {
  canvas.clearRect(0, 0, 1, 1);
  canvas.fillStyle = colour;
  canvas.fillRect(0, 0, 1, 1);
  return [...canvas.getImageData(0, 0, 1, 1).data];
};
const channel = (one) => (one / 255 <= 0.03928 ? one / 255 / 12.92 : ((one / 255 + 0.055) / 1.055) ** 2.4);
const light = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
const contrast = (one, other) => {
  const [dark, bright] = [light(one), light(other)].sort((a, b) => a - b);
  return (bright + 0.05) / (dark + 0.05);
};
const behind = (element) => {
  for (let at = element; at; at = at.parentElement) {
    const colour = rgba(getComputedStyle(at).backgroundColor);
    if (colour[3] === 255) return colour;
  }
  return rgba("white");
};
const seen = (element) => element.checkVisibility() && element.getBoundingClientRect().width > 0;
const found = [], note = (what, element, ratio, least) => {
  const name = `${element.tagName}.${element.getAttribute("class") || ""}`;
  if (ratio < least) found.push(`${what} ${name} ${ratio.toFixed(2)} < ${least}`);
};
let texts = 0, parts = 0;
for (const element of document.body.querySelectorAll("*")) {
  if (!seen(element) || element.closest("[disabled], defs")) continue;
  const style = getComputedStyle(element);
  const says = [...element.childNodes].some((one) => one.nodeType === 3 && one.data.trim());
  if (says && element.tagName !== "TITLE") {
    const colour = element.closest("svg") ? style.fill : style.color;
    const size = parseFloat(style.fontSize), isLarge = size >= 24 || (size >= 18.66 && style.fontWeight >= 700);
    note("text", element, contrast(rgba(colour), behind(element)), isLarge ? LARGE : TEXT);
    texts += 1;
  }
  if (element.matches("input:not([type=checkbox], [type=hidden]), select, textarea, button, .button")) {
    note("border", element, contrast(rgba(style.borderTopColor), behind(element.parentElement)), PART);
    parts += 1;
  }
  if (element.matches("svg rect:not(.stripe), svg polyline, svg .size, svg .axis")) {
    const pattern = style.fill.startsWith("url") && document.querySelector(style.fill.slice(5, -2)).firstElementChild;
    const isLine = style.fill === "none" || element.matches(".axis");
    const paint = pattern ? getComputedStyle(pattern).fill : isLine ? style.stroke : style.fill;
    note("part", element, contrast(rgba(paint), behind(element)), PART);
    parts += 1;
  }
}
return [[...new Set(found)], texts, parts];
"""


def too_faint(browser: Any) -> list[str]:
    """Return what of the page is too faint to be read; raises AssertionError where nothing was measured."""
    found, texts, _ = browser.execute_script(_SCRIPT, TEXT, LARGE, PART)
    assert texts > 3, "nothing was measured"
    return list(found)
