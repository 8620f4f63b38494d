"""Runs the demo and draws what the terminal showed, animated: `python scripts/kindling/terminal_picture.py`.

It writes terminal.svg beside itself, for the README: the lines appear one after another, as they came but within eight
seconds; a viewer without animation shows the final picture.
"""

import re
import shutil
import subprocess
import sys
import tempfile
import time
from html import escape
from pathlib import Path

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-m", "kindling", "demo"]
SECONDS = 8  # the length of the animation
COLUMNS, EPOCHS = 108, 3  # characters of a line, and epochs at the beginning and at the end
LINE, LETTER = 19, 8.4  # height and width in pixels
STYLE = """
text { font: 14px ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace; white-space: pre }
.line { fill: #c9d1d9; animation: appear 1ms linear both }
.prompt { fill: #7ee787 } .name { fill: #8b949e } .value { fill: #79c0ff } .comment { fill: #6e7681 }
@keyframes appear { from { opacity: 0 } to { opacity: 1 } }
@media (prefers-reduced-motion: reduce) { .line { animation: none } }
"""
PARTS = re.compile(
    r"(?P<comment>    #.*$)|(?P<name>\b(?:train|val|test)/\w+|^(?:run|device)\b)|(?P<value>\b\d+\.\d{4}\b)"
)


def record(folder: Path) -> list[tuple[float, str]]:
    """Each line that the demo printed in a folder with the experiments, and when, in seconds."""
    shutil.copytree(ROOT / "configs", folder / "configs")
    begun = time.monotonic()
    with subprocess.Popen(COMMAND, cwd=folder, stdout=subprocess.PIPE, text=True, encoding="utf-8") as process:
        assert process.stdout
        lines = [(time.monotonic() - begun, line.rstrip("\n")) for line in process.stdout]
    if process.returncode:
        sys.exit(f"the demo ended with {process.returncode}")
    return lines


def shortened(lines: list[tuple[float, str]]) -> list[tuple[float, str]]:
    """Without most of the epochs, which look alike."""
    epochs = [index for index, (_, line) in enumerate(lines) if line.startswith("epoch ")]
    left_out = epochs[EPOCHS:-EPOCHS]
    if not left_out:
        return lines
    return [*lines[: left_out[0]], (lines[left_out[0]][0], "…"), *lines[left_out[-1] + 1 :]]


def drawn(lines: list[tuple[float, str]]) -> str:
    """A terminal as SVG."""
    rows = [(0.0, '<tspan class="prompt">$</tspan> make demo')]
    rows += [(1 + SECONDS * second / lines[-1][0], coloured(fitting(line))) for second, line in lines]
    width, height = round(COLUMNS * LETTER) + 40, (len(rows) + 1) * LINE + 40
    texts = [
        f'<text class="line" x="20" y="{60 + index * LINE}" style="animation-delay: {second:.2f}s">{row}</text>'
        for index, (second, row) in enumerate(rows)
    ]
    dots = [f'<circle cx="{24 + 20 * index}" cy="20" r="6" fill="#484f58"/>' for index in range(3)]
    frame = f'<rect width="{width}" height="{height}" rx="10" fill="#0d1117"/>'
    opening = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}">'
    return "\n".join([opening, f"<style>{STYLE}</style>", frame, *dots, *texts, "</svg>", ""])


def fitting(line: str) -> str:
    return line if len(line) <= COLUMNS else f"{line[: COLUMNS - 1]}…"


def coloured(line: str) -> str:
    """A line as SVG: names of metrics, their values and comments stand out."""
    parts, place = [], 0
    for found in PARTS.finditer(line):
        parts.append(escape(line[place : found.start()], quote=False))
        parts.append(f'<tspan class="{found.lastgroup}">{escape(found[0], quote=False)}</tspan>')
        place = found.end()
    return "".join([*parts, escape(line[place:], quote=False)])


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        lines = record(Path(folder))
    picture = Path(__file__).with_name("terminal.svg")
    picture.write_text(drawn(shortened(lines)), encoding="utf-8")
    print(f"drew {picture}, from {lines[-1][0]:.0f} s of output")
