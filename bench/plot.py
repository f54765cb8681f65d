"""A plot as SVG: rows of small bar charts that share a scale."""

from dataclasses import dataclass
from xml.sax.saxutils import escape

BAR, GAP, HEIGHT, PANEL_GAP, LEFT, TOP = 40, 10, 90, 34, 20, 26
ROW = HEIGHT + 74


@dataclass(frozen=True)
class Panel:
    title: str
    bars: list[tuple[str, float]]

    @property
    def width(self) -> int:
        return max(1, len(self.bars)) * (BAR + GAP)


@dataclass(frozen=True)
class Row:
    title: str
    panels: list[Panel]


def svg(rows: list[Row]) -> str:
    width = LEFT * 2 + max(sum(panel.width + PANEL_GAP for panel in row.panels) for row in rows) - PANEL_GAP
    height = TOP + ROW * len(rows)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        'font-family="sans-serif" font-size="11">',
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
    ]
    for number, row in enumerate(rows):
        parts += _row(row, TOP + number * ROW)
    return "\n".join([*parts, "</svg>"]) + "\n"


def _row(row: Row, top: int) -> list[str]:
    most = max((value for panel in row.panels for _, value in panel.bars), default=0) or 1
    parts = [_text(LEFT, top, row.title, 'font-weight="bold" font-size="13"')]
    floor, left = top + 22 + HEIGHT, LEFT
    for panel in row.panels:
        parts.append(f'<line x1="{left}" y1="{floor}" x2="{left + panel.width}" y2="{floor}" stroke="#888888"/>')
        for number, (label, value) in enumerate(panel.bars):
            x, tall = left + number * (BAR + GAP) + GAP // 2, max(1.0, value / most * HEIGHT)
            middle = x + BAR / 2
            parts.append(f'<rect x="{x}" y="{floor - tall:.1f}" width="{BAR}" height="{tall:.1f}" fill="#3b75af"/>')
            parts.append(_text(middle, floor - tall - 4, _short(value), 'text-anchor="middle"'))
            parts.append(_text(middle, floor + 14, label, 'text-anchor="middle"'))
        name = 'text-anchor="middle" fill="#555555"'
        parts.append(_text(left + panel.width / 2, floor + 29, panel.title, name))
        left += panel.width + PANEL_GAP
    return parts


def _short(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}"


def _text(x: float, y: float, text: str, style: str) -> str:
    fill = "" if "fill=" in style else ' fill="#111111"'
    return f'<text x="{x:.1f}" y="{y:.1f}" {style}{fill}>{escape(text)}</text>'
