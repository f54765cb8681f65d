"""Draws the Grafana dashboard's panels from a real Prometheus's answers to their queries: `docs/dashboard.png`.

Not Grafana, and no part of the tests: `pip install matplotlib` beside requirements.txt, then
`python tests/peers/dashboard_picture.py docs/dashboard.png` from a checkout with a debug build. It takes ten minutes.
"""

import math
import shutil
import sys
import time

import matplotlib

matplotlib.use("Agg")
import matplotlib.dates as dates
import matplotlib.pyplot as plt
from matplotlib.ticker import FuncFormatter, MaxNLocator, MultipleLocator
from PIL import Image

from dashboard import Dashboard, filled_in
from monitored import Monitored
from observability import ALERTS, PROMETHEUS
from sidecar import write

SECONDS, SCRAPE, RATE = 600, 2, 20
COLUMN, ROW, HEADER, GAP = 54, 28, 64, 6
"""Pixels: of the grid's columns and rows, of the line at the top, between panels."""
BACK, PANEL, EDGE, TEXT, FAINT = "#111217", "#181b1f", "#2c3037", "#d5d6dd", "#8e8f9b"
PALETTE = ["#73BF69", "#F2CC0C", "#5794F2", "#FF9830", "#F2495C", "#B877D9", "#8AB8FF", "#FFA6B0", "#96D98D", "#CA95E5"]
COLORS = {
    "green": "#73BF69", "blue": "#5794F2", "purple": "#B877D9", "orange": "#FF9830", "yellow": "#FADE2A",
    "semi-dark-yellow": "#E0B400", "red": "#F2495C", "dark-red": "#C4162A",
}  # fmt: skip


def main():
    target = sys.argv[1]
    settings = {
        "keys": {"rotateEvery": "150s", "propagation": "10s"},
        "tokens": {"ttl": "30s", "maxTtl": "60s"},
        "throttle": {"first": "200ms", "max": "1s", "forgetAfter": "30s", "entries": 50},
    }
    with Monitored(PROMETHEUS, [ALERTS], settings, SCRAPE) as fleet:
        began = time.monotonic()
        for at, what in story(fleet):
            time.sleep(max(0, began + at - time.monotonic()))
            what()
        time.sleep(max(0, began + SECONDS - time.monotonic()))
        Picture(fleet, Dashboard()).save(target)


def story(fleet):
    """(seconds, what happens then)."""
    first = fleet.sidecars[0]

    def change(**values):
        return lambda: vars(fleet).update(values)

    def refused():
        write(first.directory / "users/users.yaml", "users: [")

    def mended():
        first.users["old"] = {"passwords": [{"hash": "$apr1$abc$def"}]}
        first.write_users()

    return [
        (120, change(guessing=0.35)),
        (190, change(guessing=0.02)),
        (270, change(breaking=0.2)),
        (330, change(breaking=0.01)),
        (380, refused),
        (440, mended),
        (480, change(pace=45)),
        (560, change(pace=25)),
    ]


class Picture:
    def __init__(self, fleet, dashboard):
        # Of all queries one, so that their points are at the same times.
        self._fleet, self._dashboard, self._end = fleet, dashboard, time.time()
        panels = dashboard.document["panels"]
        rows = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in panels)
        self._width, self._height = 24 * COLUMN, HEADER + rows * ROW
        self._figure = plt.figure(figsize=(self._width / 100, self._height / 100), dpi=100, facecolor=BACK)
        self._rotations = self._annotations()
        self._text(14, 40, dashboard.document["title"], size=17, weight="bold")
        chosen = "Namespace  All     Job  All     Pod  All     Last 10 minutes"
        self._text(self._width - 14, 38, chosen, color=FAINT, ha="right")
        for panel in panels:
            at = panel["gridPos"]
            left, top = at["x"] * COLUMN, HEADER + at["y"] * ROW
            if panel["type"] == "row":
                self._text(left + 14, top + 20, f"⌄  {panel['title']}", size=11, weight="bold")
            else:
                self._panel(panel, left, top, at["w"] * COLUMN, at["h"] * ROW)

    def save(self, path):
        self._figure.savefig(path, facecolor=BACK)
        # A third of the bytes.
        Image.open(path).convert("RGB").quantize(256).save(path, optimize=True)

    def _panel(self, panel, left, top, width, height):
        left, top, width, height = left + GAP / 2, top + GAP / 2, width - GAP, height - GAP
        frame = plt.Rectangle(
            (left / self._width, 1 - (top + height) / self._height), width / self._width, height / self._height,
            transform=self._figure.transFigure, facecolor=PANEL, edgecolor=EDGE, linewidth=0.8, zorder=-1,
        )  # fmt: skip
        self._figure.add_artist(frame)
        self._text(left + 9, top + 19, panel["title"], weight="bold", size=8.5)
        draw = {"stat": self._stat, "timeseries": self._series, "heatmap": self._heatmap}[panel["type"]]
        draw(panel, left, top, width, height)

    def _stat(self, panel, left, top, width, height):
        (series,) = self._data(panel)[:1] or [None]
        defaults = panel["fieldConfig"]["defaults"]
        axes = self._axes(left + 1, top + height * 0.7, width - 2, height * 0.3 - 1)
        axes.axis("off")
        color, shown = COLORS["green"], "No data"
        if series:
            _, _, times, values = series
            last = next((value for value in reversed(values) if math.isfinite(value)), math.nan)
            steps = defaults["thresholds"]["steps"]
            reached = [step for step in steps if step["value"] is None or last >= step["value"]]
            color = COLORS[reached[-1]["color"]]
            mapped = [one["options"].get(f"{last:g}") for one in defaults["mappings"]]
            shown = formatted(last, defaults["unit"], defaults.get("decimals"))
            shown = mapped[0]["text"] if mapped and mapped[0] else shown
            if panel["options"]["colorMode"] == "value":
                axes.fill_between(times, values, min(0, *values), color=color, alpha=0.18, linewidth=0)
                axes.plot(times, values, color=color, linewidth=1)
                axes.set_ylim(0, max(*values, 1e-9) * 1.1)
        self._text(left + width / 2, top + height * 0.6, shown, size=19, color=color, ha="center", weight="bold")

    def _series(self, panel, left, top, width, height):
        defaults = panel["fieldConfig"]["defaults"]
        unit, custom = defaults["unit"], defaults["custom"]
        found = self._data(panel)
        fixed = {
            one["matcher"]["options"]: COLORS[one["properties"][0]["value"]["fixedColor"]]
            for one in panel["fieldConfig"]["overrides"]
        }
        lines = self._legend(found, fixed, left + 10, top + height - 9, width - 20)
        axes = self._axes(left + 58, top + 32, width - 70, height - 62 - 15 * lines)
        base = None
        for number, (legend, _, times, values) in enumerate(found):
            color = fixed.get(legend, PALETTE[number % len(PALETTE)])
            if custom["stacking"]["mode"] == "normal":
                values = [0 if math.isnan(value) else value for value in values]
                base = base or [0] * len(values)
                above = [low + value for low, value in zip(base, values)]
                axes.fill_between(times, base, above, color=color, alpha=0.35, linewidth=0)
                axes.plot(times, above, color=color, linewidth=1)
                base = above
            else:
                axes.plot(times, values, color=color, linewidth=1.2)
                axes.fill_between(times, values, 0, color=color, alpha=custom["fillOpacity"] / 100, linewidth=0)
        if "min" in defaults:
            _, high = axes.get_ylim()
            empty = not any(value > 0 for *_, values in found for value in values)
            axes.set_ylim(0, 1 if empty else high)
        axes.yaxis.set_major_locator(locator(unit, axes.get_ylim(), defaults.get("decimals") == 0))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: formatted(value, unit, axis=True)))
        for moment in self._rotations:
            axes.axvline(moment, color=COLORS["blue"], linewidth=0.7, linestyle=(0, (4, 3)), alpha=0.8)

    def _heatmap(self, panel, left, top, width, height):
        def bound(series):
            return math.inf if series[1]["le"] == "+Inf" else float(series[1]["le"])

        found = sorted(self._data(panel), key=bound)
        axes = self._axes(left + 58, top + 32, width - 70, height - 62)
        cells, below = [], None
        for _, _, times, values in found:
            values = [0 if math.isnan(value) else value for value in values]
            cells.append([max(0, here - under) for here, under in zip(values, below or [0] * len(values))])
            below = values
        cells = [[value if value > 0 else math.nan for value in line] for line in cells]
        axes.pcolormesh(times, range(len(found)), cells, cmap="YlOrRd", shading="nearest")
        labels = ["∞" if math.isinf(bound(series)) else formatted(bound(series), "s", axis=True) for series in found]
        axes.set_yticks(range(0, len(found), 2), labels[::2])
        axes.grid(False)

    def _axes(self, left, top, width, height):
        box = [left / self._width, 1 - (top + height) / self._height, width / self._width, height / self._height]
        axes = self._figure.add_axes(box, facecolor="none")
        axes.tick_params(colors=FAINT, labelsize=7, length=0)
        axes.grid(color="#2a2d33", linewidth=0.6)
        axes.set_axisbelow(True)
        for side in axes.spines.values():
            side.set_visible(False)
        axes.xaxis.set_major_locator(dates.MinuteLocator(byminute=range(0, 60, 2)))
        axes.xaxis.set_major_formatter(dates.DateFormatter("%H:%M"))
        axes.margins(x=0)
        return axes

    def _legend(self, found, fixed, left, bottom, width):
        """Draws names in as many lines as they need, three at most; their number."""
        renderer = self._figure.canvas.get_renderer()
        lines, room = [[]], width
        for number, (legend, *_) in enumerate(found):
            probe = self._figure.text(0, 0, legend, fontsize=7)
            wide = probe.get_window_extent(renderer).width + 28
            probe.remove()
            if wide > room and lines[-1]:
                lines.append([])
                room = width
            lines[-1].append((legend, fixed.get(legend, PALETTE[number % len(PALETTE)]), width - room))
            room -= wide
        lines = lines[:3]
        for number, line in enumerate(lines):
            y = bottom - 15 * (len(lines) - 1 - number)
            for legend, color, x in line:
                self._text(left + x, y, "▬", size=7, color=color)
                self._text(left + x + 13, y, legend, size=7, color=TEXT)
        return len(lines)

    def _text(self, x, y, text, size=8, color=TEXT, **more):
        self._figure.text(x / self._width, 1 - y / self._height, text, fontsize=size, color=color, **more)

    def _data(self, panel):
        """(legend, labels, times, values) of each series, in the order of the legends."""
        found = []
        for target in panel["targets"]:
            answers = self._fleet.range(filled_in(target["expr"], RATE), SECONDS - RATE, SCRAPE, self._end)
            series = []
            for answer in answers:
                legend = target["legendFormat"]
                for label, value in answer["metric"].items():
                    legend = legend.replace("{{" + label + "}}", value)
                times = [at / 86400 for at, _ in answer["values"]]
                series.append((legend, answer["metric"], times, [float(value) for _, value in answer["values"]]))
            found += sorted(series, key=lambda one: one[0])
        # A series that began or ended within the time is drawn where it is, and stacked as 0 elsewhere.
        every = sorted({at for _, _, times, _ in found for at in times})
        whole = []
        for legend, labels, times, values in found:
            known = dict(zip(times, values))
            whole.append((legend, labels, every, [known.get(at, math.nan) for at in every]))
        return whole

    def _annotations(self):
        (annotation,) = self._dashboard.document["annotations"]["list"]
        moments = []
        for series in self._fleet.range(filled_in(annotation["expr"], RATE), SECONDS - RATE, SCRAPE, self._end):
            for at, _ in series["values"]:
                if not moments or at - moments[-1] > 2 * RATE:
                    moments.append(at)
        return [at / 86400 for at in moments]


def locator(unit, limits, integer):
    """Where the lines of the vertical axis are: at round numbers of the unit."""
    steps = {
        "s": [one * many for one, many in [(1, 15), (1, 30), (60, 1), (60, 2), (60, 5), (3600, 6), (3600, 12)]],
        "bytes": [many << 20 for many in (1, 2, 5, 10, 20, 50, 100)],
    }
    span = limits[1] - limits[0]
    fitting = [step for step in steps.get(unit, []) if 2 <= span / step <= 5]
    return MultipleLocator(fitting[0]) if fitting else MaxNLocator(5, integer=integer)


def formatted(value, unit, decimals=None, axis=False):
    """A number as Grafana would show it, more or less."""
    if math.isnan(value):
        return "No data"
    if unit == "percentunit":
        if decimals is None:
            decimals = 0 if value == 0 or value >= 0.1 else 1 if value >= 0.01 else 2
        return f"{value * 100:.{decimals}f}%"
    if unit == "s":
        sign, size = ("-", -value) if value < 0 else ("", value)
        for one, name in ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"), (1e-3, "ms"), (1e-6, "µs")):
            if size >= one * 0.9999:
                return f"{sign}{round(size / one, 1):g} {name}"
        return "0 s"
    if unit == "bytes":
        for one, name in ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")):
            if value >= one:
                return f"{value / one:.3g} {name}"
        return f"{value:.3g} B"
    shown = f"{round(value, 2):g}" if axis or abs(value) < 10 else f"{value:.3g}"
    return shown + {"reqps": " req/s", "ops": " ops/s"}.get(unit, "")


if __name__ == "__main__":
    if not PROMETHEUS or not shutil.which("openssl"):
        sys.exit("needs prometheus and openssl")
    main()
