"""The figure of docs/search.md: what each stage of the search saves, from the benchmark's JSON.

python benchmarks/search.py --json > benchmarks/search_results.json
python benchmarks/search_figure.py benchmarks/search_results.json docs/search.svg [--json]
"""

import argparse
import json
import math
from pathlib import Path
from typing import Any

WIDTH, HEIGHT, LEFT, TOP, RIGHT, BOTTOM = 760, 380, 70, 20, 250, 50
LEAST = 1e-4  # smaller missing shares are drawn here
STAGES = (
    ("random", "plain", "#9a9a9a", "plain Optuna, random"),
    ("tpe", "plain", "#d1495b", "plain Optuna, TPE"),
    ("gp", "plain", "#8d6a9f", "plain Optuna, GP"),
    ("random", "structured", "#edae49", "+ cost first, simulations shared"),
    ("screening", "structured, no look", "#66a182", "+ simulation of the largest gain"),
    ("screening", "structured", "#00798c", "+ look at half the text first"),
)


def figure(result: dict[str, Any]) -> str:
    """Missing share of the true hypervolume (logarithmic) against simulations, as SVG."""
    rows = {(row["sampler"], row["method"]): row for row in result["samplers"]}
    most = max(result["budgets"]) * result["simulations"]
    parts = [_axes(most)]
    for number, (sampler, method, colour, label) in enumerate(STAGES):
        if (sampler, method) not in rows:
            continue
        curve = rows[sampler, method]["curve"]
        points = " ".join(
            f"{_x(n / (len(curve) - 1)):.1f},{_y(1 - value):.1f}" for n, value in enumerate(curve)
        )
        parts.append(
            f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>'
        )
        y = TOP + 20 + 24 * number
        parts.append(
            f'<rect x="{WIDTH - RIGHT + 20}" y="{y - 9}" width="18" height="3" fill="{colour}"/>'
            f'<text x="{WIDTH - RIGHT + 44}" y="{y - 3}">{label}</text>'
        )
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        f'font-family="sans-serif" font-size="12">\n'
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>\n{body}\n</svg>\n'
    )


def _x(share: float) -> float:
    return LEFT + share * (WIDTH - LEFT - RIGHT)


def _y(missing: float) -> float:
    """Height of a missing share: 1 at the top, LEAST at the bottom."""
    down = math.log10(max(missing, LEAST)) / math.log10(LEAST)
    return TOP + down * (HEIGHT - TOP - BOTTOM)


def _axes(most: float) -> str:
    lines = []
    for missing in (1.0, 0.1, 0.01, 1e-3, 1e-4):
        y = _y(missing)
        lines.append(
            f'<line x1="{LEFT}" x2="{_x(1):.0f}" y1="{y:.1f}" y2="{y:.1f}" stroke="#ddd"/>'
            f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{100 * missing:g} %</text>'
        )
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        lines.append(
            f'<text x="{_x(share):.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">'
            f"{share * most:.0f}</text>"
        )
    lines.append(
        f'<text x="{_x(0.5):.0f}" y="{HEIGHT - 12}" text-anchor="middle">simulations spent</text>'
        f'<text transform="translate(16 {HEIGHT / 2 - 10:.0f}) rotate(-90)" text-anchor="middle">'
        "missing of the true hypervolume</text>"
    )
    return "\n".join(lines)


def main() -> None:
    """Parse, draw, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("result", type=Path)
    parser.add_argument("svg", type=Path)
    parser.add_argument("--json", action="store_true", dest="as_json")
    given = parser.parse_args()
    text = figure(json.loads(given.result.read_text(encoding="utf-8")))
    given.svg.write_text(text, encoding="utf-8")
    print(json.dumps({"written": str(given.svg)}) if given.as_json else f"wrote {given.svg}")


if __name__ == "__main__":
    main()
