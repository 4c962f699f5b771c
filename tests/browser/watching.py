"""What tests of the library's page wait for: expressions of the page, and colours of the decoded picture."""

import asyncio
import time
from typing import Any

from pages import PATIENCE_S
from playwright.async_api import Page

# What H.264 may make of a colour.
NEAR = 40
MIDDLE = (80, 45)

# The picture as 160 x 90 pixels, and one of them.
_COLOUR = """([x, y]) => {
  const canvas = Object.assign(document.createElement("canvas"), { width: 160, height: 90 });
  const context = canvas.getContext("2d");
  context.drawImage(document.querySelector("#video"), 0, 0, 160, 90);
  return [...context.getImageData(x, y, 1, 1).data.slice(0, 3)];
}"""


async def until(page: Page, expression: str, what: str) -> Any:
    """Wait until an expression is true in the page; the security policy forbids Playwright's own way."""
    deadline = time.monotonic() + PATIENCE_S
    while not (value := await page.evaluate(expression)):
        assert time.monotonic() < deadline, f"not within {PATIENCE_S:.0f} s: {what}"
        await asyncio.sleep(0.05)
    return value


async def until_colour(page: Page, colour: tuple[int, int, int], *, place: tuple[int, int] = MIDDLE) -> None:
    """Wait until the decoded picture has this colour at a place of 160 x 90."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        seen: list[int] = await page.evaluate(_COLOUR, list(place))
        if max(abs(one - other) for one, other in zip(seen, colour, strict=True)) < NEAR:
            return
        assert time.monotonic() < deadline, f"the picture is {seen}, not {colour}"
        await asyncio.sleep(0.05)
