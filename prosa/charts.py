"""Small charts as SVG text: series of points come in, a picture that follows its page's colours goes out."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from prosa.wording import Language, show_number

_WIDTH, _HEIGHT = 560, 240
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 12, 12, 40
_TICKS = 4


@dataclass(frozen=True, slots=True)
class Series:
    """A named line; `has_points`: marks instead of a line, for measurements without an order."""

    name: str
    points: Sequence[tuple[float, float]]
    has_points: bool = False


def line_chart(series: Sequence[Series], *, x_label: str, y_label: str, language: Language = "en") -> str:
    """An SVG with axes, legend and a title for screen readers; "" without two points."""
    points = [point for one in series for point in one.points]
    if len(points) < 2:
        return ""
    (x_low, x_high), (y_low, y_high) = (_bounds([point[axis] for point in points]) for axis in (0, 1))

    def place(x: float, y: float) -> tuple[float, float]:
        across = _LEFT + (x - x_low) / (x_high - x_low) * (_WIDTH - _LEFT - _RIGHT)
        down = _TOP + (y_high - y) / (y_high - y_low) * (_HEIGHT - _TOP - _BOTTOM)
        return round(across, 1), round(down, 1)

    parts = [
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" class="chart">',
        f"<title>{escape(y_label)}, {escape(x_label)}</title>",
    ]
    for number in range(_TICKS + 1):
        x, y = (low + number / _TICKS * (high - low) for low, high in ((x_low, x_high), (y_low, y_high)))
        across, down = place(x, y)
        parts += [
            f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{down}" y2="{down}"/>',
            _text("tick", _LEFT - 6, down + 4, "end", _tick(y, y_high - y_low, language)),
            _text("tick", across, _HEIGHT - _BOTTOM + 16, "middle", _tick(x, x_high - x_low, language)),
        ]
    parts.append(_text("label", (_LEFT + _WIDTH) / 2, _HEIGHT - 6, "middle", x_label))
    for number, one in enumerate(series, start=1):
        places = [place(*point) for point in one.points]
        if one.has_points:
            parts += [f'<circle class="fill-{number}" cx="{x}" cy="{y}" r="3"/>' for x, y in places]
        else:
            path = " ".join(f"{x},{y}" for x, y in places)
            parts.append(f'<polyline class="line line-{number}" points="{path}"/>')
    parts.append("</svg>")
    legend = "".join(
        f'<span class="key"><i class="swatch fill-{number}"></i>{escape(one.name)}</span>'
        for number, one in enumerate(series, start=1)
    )
    return f"<figure>{''.join(parts)}<figcaption>{legend}</figcaption></figure>"


def _text(style: str, x: float, y: float, anchor: str, text: str) -> str:
    return f'<text class="{style}" x="{x}" y="{y}" text-anchor="{anchor}">{escape(text)}</text>'


def _bounds(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _tick(value: float, span: float, language: Language) -> str:
    return show_number(value, 0 if span >= 20 else 1 if span >= 3 else 2, language)
