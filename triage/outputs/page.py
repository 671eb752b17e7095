"""A page of text as pixels, the same for the same words everywhere."""

import textwrap
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

SIZE_PX: Final = 1024
_MARGIN_PX: Final = 48
_LINE_PX: Final = 30
_FONT_PX: Final = 20
_LINE_LETTERS: Final = 88
_INK: Final = 235
_PAPER: Final = 16


def render(lines: Sequence[str]) -> npt.NDArray[np.uint8]:
    """Give a square grey page, dark as a reading room, with one paragraph a line.

    What does not fit on the page is cut, and the last line says so.
    """
    wrapped = [piece for line in lines for piece in textwrap.wrap(line, _LINE_LETTERS) or [""]]
    fitting = (SIZE_PX - 2 * _MARGIN_PX) // _LINE_PX
    if len(wrapped) > fitting:
        wrapped = [*wrapped[: fitting - 1], "(more in the structured report)"]
    page = Image.new("L", (SIZE_PX, SIZE_PX), _PAPER)
    draw = ImageDraw.Draw(page)
    for number, text in enumerate(wrapped):
        draw.text((_MARGIN_PX, _MARGIN_PX + number * _LINE_PX), text, fill=_INK, font=_font())
    return np.asarray(page, dtype=np.uint8)


@lru_cache(maxsize=1)
def _font() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(_FONT_PX)
