"""Boxes, arrows and words as SVG: just what the pictures of these documents need."""

from __future__ import annotations

from html import escape

__all__ = ["Drawing"]

INK, FAINT, PAPER = "#1f2933", "#52606d", "#ffffff"
FILLS = {
    "grey": ("#eef1f4", "#9aa5b1"),
    "blue": ("#dcebfb", "#3e7cb1"),
    "green": ("#dcf3e3", "#2f855a"),
    "yellow": ("#fdf3d1", "#b7791f"),
    "red": ("#fbe3e4", "#b83238"),
    "white": (PAPER, "#9aa5b1"),
}
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, Helvetica, Arial, sans-serif"
MONO = "ui-monospace, SFMono-Regular, Menlo, Consolas, monospace"


class Drawing:
    """A picture on paper of its own, so that it can be read on a dark page too."""

    def __init__(self, width: int, height: int, title: str, description: str) -> None:
        size = f'viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
        role = 'role="img" aria-labelledby="title description"'
        tip = 'viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" markerHeight="7" orient="auto-start-reverse"'
        self._parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" {size} {role} font-family="{FONT}">',
            f'<title id="title">{escape(title)}</title>',
            f'<desc id="description">{escape(description)}</desc>',
            f'<defs><marker id="tip" {tip}><path d="M0 0 10 5 0 10z" fill="{FAINT}"/></marker></defs>',
            f'<rect width="{width}" height="{height}" rx="10" fill="{PAPER}"/>',
        ]

    def area(self, x: float, y: float, width: float, height: float, fill: str, *, dashed: bool = False) -> None:
        """Draw a rectangle behind other things."""
        inside, line = FILLS[fill]
        dash = ' stroke-dasharray="5 4"' if dashed else ""
        self._parts.append(
            f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="8" fill="{inside}" '
            f'stroke="{line if dashed else "none"}"{dash}/>'
        )

    def box(self, x: float, y: float, width: float, height: float, fill: str, *lines: str) -> None:
        """Draw a box with words in its middle: the first line strong, the others small."""
        inside, line = FILLS[fill]
        self._parts.append(
            f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="6" fill="{inside}" '
            f'stroke="{line}" stroke-width="1.5"/>'
        )
        top = y + height / 2 - (len(lines) - 1) * 8.5
        for number, words in enumerate(lines):
            self.words(x + width / 2, top + number * 17, words, size=12 if number else 13, strong=not number)

    def words(
        self,
        x: float,
        y: float,
        text: str,
        *,
        size: int = 13,
        strong: bool = False,
        anchor: str = "middle",
        code: bool = False,
        colour: str = "",
    ) -> None:
        """Write a line whose middle is at `y`."""
        weight = ' font-weight="600"' if strong else ""
        font = f' font-family="{MONO}"' if code else ""
        ink = colour or (INK if strong or code else FAINT)
        self._parts.append(
            f'<text x="{x:g}" y="{y:g}" font-size="{size}" fill="{ink}" text-anchor="{anchor}" '
            f'dominant-baseline="central"{weight}{font}>{escape(text)}</text>'
        )

    def arrow(self, *points: tuple[float, float], tips: str = "end", dashed: bool = False) -> None:
        """Draw a line through these points with a tip at its `end`, at `both` ends, or at `none`."""
        path = "M" + " L".join(f"{x:g} {y:g}" for x, y in points)
        ends = {"end": ' marker-end="url(#tip)"', "none": ""}
        ends["both"] = f'{ends["end"]} marker-start="url(#tip)"'
        dash = ' stroke-dasharray="5 4"' if dashed else ""
        self._parts.append(f'<path d="{path}" fill="none" stroke="{FAINT}" stroke-width="1.5"{dash}{ends[tips]}/>')

    def __str__(self) -> str:
        return "\n".join([*self._parts, "</svg>", ""])
