"""The course of a run as a small picture: points come in, an SVG file goes out."""

from pathlib import Path
from typing import Any


def draw_curve(curve: dict[str, list[list[float]]], path: Path, *, title: str) -> None:
    """Bits per byte over tokens seen, of training batches and of validation; text stays text, so the file is small."""
    import matplotlib  # type: ignore[import-not-found, unused-ignore]

    matplotlib.use("svg")
    # A fixed salt and no date: the same curve gives the same file.
    settings: dict[str, Any] = {"svg.fonttype": "none", "svg.hashsalt": "prosa", "font.size": 9}
    with matplotlib.rc_context(settings):
        from matplotlib.figure import Figure  # type: ignore[import-not-found, unused-ignore]

        figure = Figure(figsize=(6, 3), layout="constrained")
        axes = figure.subplots()
        for name, points in curve.items():
            tokens, bits = [point[0] / 1e6 for point in points], [point[1] for point in points]
            axes.plot(tokens, bits, label=name, marker="o" if name == "validation" else "", markersize=3, linewidth=1)
        axes.set_title(title, fontsize=9)
        axes.set_xlabel("million tokens")
        axes.set_ylabel("bits per byte")
        axes.grid(alpha=0.3)
        axes.legend()
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, metadata={"Date": None})
