"""No two states look alike: distances of their colours, as dichromats see them too; contrast."""

import itertools
import re
from typing import Any, Final

import numpy as np
import pytest

from triage.worklist import assets

THEMES: Final = {"dark": ("triage.css", ":root"), "light": ("theme.css", ":root[data-theme=light]")}
STATES: Final = {
    "high": "high", "raised": "up", "pending": "pending", "not prioritised": "quiet",
    "not analysed": "unjudged", "held": "held", "failed": "failed",
}  # fmt: skip
GROUNDS: Final = ("ground", "raised", "sunk", "row")
"""A page, a card or a row under the pointer, a field, the row that has the focus."""
APART: Final = 12.0
APART_TO_A_DICHROMAT: Final = 7.0
CONTRAST: Final = 4.5
XYZ: Final = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750],
     [0.0193339, 0.1191920, 0.9503041]]
)  # fmt: skip
"""Of linear sRGB, D65; the second row is relative luminance."""
WHITE: Final = np.array([0.95047, 1.0, 1.08883])
DICHROMATS: Final = {
    "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216],
               [-0.003882, -0.048116, 1.051998]],
    "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413],
               [-0.011820, 0.042940, 0.968881]],
    "tritan": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602],
               [0.004733, 0.691367, 0.303900]],
}  # fmt: skip
"""Machado, Oliveira and Fernandes 2009, severity 1.0, on linear sRGB."""


def colours(theme: str) -> dict[str, Any]:
    """Give the colours of a theme by their names in the style sheet, linear sRGB."""
    file, selector = THEMES[theme]
    text = (assets.FOLDER / file).read_text()
    found = re.search(re.escape(selector) + r" \{([^}]*)\}", text)
    assert found is not None
    named = re.findall(r"--([\w-]+): #([0-9a-f]{3}|[0-9a-f]{6});", found[1])
    return {name: linear(code) for name, code in named}


def linear(code: str) -> Any:  # noqa: ANN401 - an array
    """Give a colour as it is written in a style sheet, in linear sRGB."""
    full = code if len(code) == 6 else "".join(2 * one for one in code)
    shown = np.frombuffer(bytes.fromhex(full), np.uint8) / 255
    return np.where(shown <= 0.04045, shown / 12.92, ((shown + 0.055) / 1.055) ** 2.4)


def lab(colour: Any) -> Any:  # noqa: ANN401 - arrays
    """CIE L*a*b*."""
    share = XYZ @ colour / WHITE
    bent = np.where(share > 216 / 24389, np.cbrt(share), (24389 / 27 * share + 16) / 116)
    return np.array([116 * bent[1] - 16, 500 * (bent[0] - bent[1]), 200 * (bent[1] - bent[2])])


def apart(one: Any, other: Any) -> float:  # noqa: ANN401 - arrays
    """CIEDE2000 of two L*a*b* colours (Sharma, Wu and Dalal 2005)."""
    chroma = (np.hypot(*one[1:]) + np.hypot(*other[1:])) / 2
    grow = 1.5 - 0.5 * np.sqrt(chroma**7 / (chroma**7 + 25**7))
    (c1, h1), (c2, h2) = (
        (np.hypot(a * grow, b), np.degrees(np.arctan2(b, a * grow)) % 360)
        for a, b in (one[1:], other[1:])
    )
    turn = (h2 - h1 + 180) % 360 - 180
    light, c, h = (one[0] + other[0]) / 2, (c1 + c2) / 2, h1 + turn / 2
    wave = 1 - 0.17 * _cos(h - 30) + 0.24 * _cos(2 * h) + 0.32 * _cos(3 * h + 6)
    wave -= 0.20 * _cos(4 * h - 63)
    dl = (other[0] - one[0]) / (1 + 0.015 * (light - 50) ** 2 / np.sqrt(20 + (light - 50) ** 2))
    dc = (c2 - c1) / (1 + 0.045 * c)
    dh = 2 * np.sqrt(c1 * c2) * np.sin(np.radians(turn / 2)) / (1 + 0.015 * c * wave)
    bend = 60 * np.exp(-((((h % 360) - 275) / 25) ** 2))
    mixed = -2 * np.sqrt(c**7 / (c**7 + 25**7)) * np.sin(np.radians(bend)) * dc * dh
    return float(np.sqrt(dl**2 + dc**2 + dh**2 + mixed))


def _cos(degrees: float) -> float:
    return float(np.cos(np.radians(degrees)))


@pytest.mark.parametrize(
    ("one", "other", "distance"),
    [
        ((50.0, 2.6772, -79.7751), (50.0, 0.0, -82.7485), 2.0425),
        ((50.0, 2.5, 0.0), (73.0, 25.0, -18.0), 27.1492),
        ((22.7233, 20.0904, -46.6940), (23.0331, 14.9730, -42.5619), 2.0373),
        ((2.0776, 0.0795, -1.1350), (0.9033, -0.0636, -0.5514), 0.9082),
    ],
)
def test_the_distance_is_the_published_one(
    one: tuple[float, ...], other: tuple[float, ...], distance: float
) -> None:
    assert apart(np.array(one), np.array(other)) == pytest.approx(distance, abs=1e-4)


@pytest.mark.parametrize("theme", THEMES)
def test_no_two_states_can_be_confused_by_their_colour(theme: str) -> None:
    named = colours(theme)
    close = []
    for one, other in itertools.combinations(STATES, 2):
        pair = named[STATES[one]], named[STATES[other]]
        if (plain := apart(*map(lab, pair))) < APART:
            close.append(f"{one}, {other}: {plain:.1f}")
        for who, seen in DICHROMATS.items():
            told = apart(*(lab(np.clip(np.array(seen) @ colour, 0, 1)) for colour in pair))
            if told < APART_TO_A_DICHROMAT:
                close.append(f"{one}, {other}: {told:.1f} {who}")
    assert close == []


@pytest.mark.parametrize("theme", THEMES)
def test_every_state_is_readable_on_every_ground(theme: str) -> None:
    named = colours(theme)
    light = {name: float(XYZ[1] @ colour) + 0.05 for name, colour in named.items()}
    for state, name in {**STATES, "late or refused": "alarm"}.items():
        for ground in GROUNDS:
            low, high = sorted((light[name], light[ground]))
            assert high / low >= CONTRAST, (state, ground)
