"""The panel under an overlay video: probabilities over time and the weight of each frame."""

import unicodedata

import numpy as np

from keras_attn.errors import require

GROUND = (17, 20, 27)
BRIGHT = (236, 239, 244)
DIM = (150, 158, 172)
_RULE = (45, 51, 63)
_LINES = ((86, 180, 233), (240, 166, 60), (86, 205, 150))  # told apart by the color-blind too
_CORNERS = (24, 4, 3)  # and by the mark at the cursor: a disc, a diamond, a triangle
_LEFT, _RIGHT, _TOP = 64, 270, 42
_CURVES = 130  # pixels of height
_WHEN = 44
_GAP = 34
_SHIFT = 4  # fractional bits of the coordinates, for smooth lines


def text(canvas, words: str, corner, size: float, color, room: int | None = None, right=False):
    """Write `words` with the baseline at `corner` (x, y), shortened to `room` pixels."""
    cv2 = require("cv2", "writing text into pictures")
    font = cv2.FONT_HERSHEY_SIMPLEX

    def width(words):
        return cv2.getTextSize(words, font, size, 1)[0][0]

    words = drawable(words)
    if room is not None and width(words) > room:
        while words and width(words + "..") > room:
            words = words[:-1]
        words += ".."
    x = corner[0] - width(words) if right else corner[0]
    cv2.putText(canvas, words, (x, corner[1]), font, size, color, 1, cv2.LINE_AA)


def drawable(words: str) -> str:
    """Letters that OpenCV's older fonts can draw: without accents, or else as `\\uXXXX`."""
    plain = unicodedata.normalize("NFKD", words)
    plain = "".join(letter for letter in plain if not unicodedata.combining(letter))
    return "".join(
        letter if " " <= letter <= "~" else letter.encode("unicode_escape").decode()
        for letter in plain
    )


class Timeline:
    """The panel of one video; `draw(number)` returns it at that frame.

    Shapes: `(T, K)` probabilities of each step, `K` names, `(T,)` weights of the frames.
    The three classes of the largest mean over all frames are drawn.
    """

    height = _TOP + _CURVES + _GAP + _WHEN + 34

    def __init__(self, step_probabilities, class_names, when, fps, width):
        self.probabilities = np.asarray(step_probabilities, "float64")
        self.top = np.argsort(-self.probabilities.mean(0), kind="stable")[: len(_LINES)]
        self.names = [class_names[label] for label in self.top]
        self.times_uniform = np.asarray(when, "float64") * len(when)
        self.fps, self.width = fps, width
        self.x = np.linspace(_LEFT, width - _RIGHT, len(when)) if len(when) > 1 else [_LEFT]
        # Fixed steps, so that a model with bounded logits is not drawn as a flat line.
        largest = self.probabilities[:, self.top].max()
        self.ceiling = next(c for c in (0.1, 0.25, 0.5, 1.0) if largest <= c or c == 1)
        self.tallest = max(2.0, float(np.ceil(self.times_uniform.max())))
        self.bright = self._still(1.0)
        self.faint = self._still(0.4)

    def draw(self, number: int) -> np.ndarray:
        """The panel at frame `number`: the past is bright, the cursor stands at the present."""
        cv2 = require("cv2", "drawing the timeline")
        panel = self.faint.copy()
        x = round(float(self.x[number]))
        panel[:, : x + 1] = self.bright[:, : x + 1]
        base = _TOP + _CURVES + _GAP + _WHEN
        cv2.line(panel, (x, _TOP - 6), (x, base), BRIGHT, 1)
        right = self.width - 20
        start = self.width - _RIGHT + 34
        for place in reversed(range(len(self.top))):  # the first class last, above the others
            value = self.probabilities[number, self.top[place]]
            self._mark(panel, place, x, self._height_of(value))
            row = _TOP + 18 + 30 * place
            self._mark(panel, place, start - 14, row - 5)
            text(panel, self.names[place], (start, row), 0.5, _LINES[place], right - start - 56)
            text(panel, f"{100 * value:.0f}%", (right, row), 0.5, BRIGHT, right=True)
        row = _TOP + _CURVES + _GAP + _WHEN // 2 + 5
        text(panel, "Weight of the frame", (start, row), 0.45, DIM)
        text(panel, f"{self.times_uniform[number]:.1f}x", (right, row), 0.5, BRIGHT, right=True)
        seconds = f"{number / self.fps:.1f} s"
        text(panel, seconds, (min(x + 6, self.width - _RIGHT - 36), _TOP - 8), 0.4, BRIGHT)
        return panel

    def _height_of(self, probability):
        return _TOP + _CURVES * (1 - probability / self.ceiling)

    def _still(self, strength):
        """Axes and all curves, faded by `strength` towards the ground."""
        panel = np.full((self.height, self.width, 3), GROUND, "uint8")
        self._axes(panel)
        clean = panel.copy()
        self._curves(panel)
        return np.round(strength * panel + (1 - strength) * clean).astype("uint8")

    def _axes(self, panel):
        cv2 = require("cv2", "drawing the timeline")
        right = self.width - _RIGHT
        for share in (0, 0.5, 1):
            y = round(self._height_of(share * self.ceiling))
            cv2.line(panel, (_LEFT, y), (right, y), _RULE, 1)
            label = f"{100 * share * self.ceiling:g}%"
            text(panel, label, (_LEFT - 10, y + 5), 0.4, DIM, right=True)
        base = _TOP + _CURVES + _GAP + _WHEN
        cv2.line(panel, (_LEFT, base), (right, base), _RULE, 1)
        y = round(base - _WHEN / self.tallest)
        cv2.line(panel, (_LEFT, y), (right, y), _RULE, 1)  # all frames weigh the same
        text(panel, "1x", (_LEFT - 10, y + 5), 0.4, DIM, right=True)
        text(panel, "Probability", (_LEFT, 14), 0.42, DIM)
        text(panel, "When: weight of each frame", (_LEFT, base - _WHEN - 10), 0.42, DIM)
        duration = (len(self.probabilities) - 1) / self.fps
        text(panel, "0 s", (_LEFT, base + 18), 0.4, DIM)
        text(panel, f"{duration:.1f} s", (right, base + 18), 0.4, DIM, right=True)

    def _curves(self, panel):
        cv2 = require("cv2", "drawing the timeline")
        base = _TOP + _CURVES + _GAP + _WHEN
        heights = base - _WHEN * self.times_uniform / self.tallest
        area = [(self.x[0], base), *zip(self.x, heights, strict=True), (self.x[-1], base)]
        cv2.fillPoly(panel, [_fixed(area)], (78, 88, 108), cv2.LINE_AA, _SHIFT)
        for place in reversed(range(len(self.top))):
            heights = self._height_of(self.probabilities[:, self.top[place]])
            points = _fixed(list(zip(self.x, heights, strict=True)))
            thickness = 2 if place == 0 else 1
            cv2.polylines(panel, [points], False, _LINES[place], thickness, cv2.LINE_AA, _SHIFT)

    @staticmethod
    def _mark(panel, place, x, y):
        cv2 = require("cv2", "drawing the timeline")
        turns = 2 * np.pi * np.arange(_CORNERS[place]) / _CORNERS[place] - np.pi / 2
        points = np.stack([x + 5 * np.cos(turns), y + 5 * np.sin(turns)], -1)
        cv2.fillPoly(panel, [_fixed(points)], _LINES[place], cv2.LINE_AA, _SHIFT)


def _fixed(points):
    return np.round(np.asarray(points, "float64") * 2**_SHIFT).astype("int32")
