# SPDX-License-Identifier: GPL-2.0-only
"""A terminal's screen, as tmux captures it with its colours, as a page. Reads standard input, writes standard output."""

import html
import re
import sys

COLOURS = ["#1c1f26", "#e06c75", "#98c379", "#e5c07b", "#61afef", "#c678dd", "#56b6c2", "#d7dae0"]
BRIGHT = ["#7f848e", "#ff7b86", "#b5e890", "#ffd98a", "#8cc8ff", "#e29bf0", "#7fd9e4", "#ffffff"]
FOREGROUND, BACKGROUND = "#d7dae0", "#111217"
SGR = re.compile("\x1b\\[([0-9;]*)m")


def colour_of(number):
    """Of the 256 of a terminal."""
    if number < 16:
        return (COLOURS + BRIGHT)[number]
    if number < 232:
        n = number - 16
        return "#%02x%02x%02x" % tuple(0 if c == 0 else 55 + 40 * c for c in (n // 36, n // 6 % 6, n % 6))
    return "#" + "%02x" % (8 + 10 * (number - 232)) * 3


class Pen:
    def __init__(self):
        self.reset()

    def reset(self):
        self.front, self.back, self.bold, self.dim, self.reverse = FOREGROUND, BACKGROUND, False, False, False

    def take(self, codes):
        numbers = [int(code or 0) for code in codes.split(";")]
        while numbers:
            n = numbers.pop(0)
            if n == 0:
                self.reset()
            elif n in (1, 2, 7):
                setattr(self, {1: "bold", 2: "dim", 7: "reverse"}[n], True)
            elif n == 22:
                self.bold = self.dim = False
            elif n == 27:
                self.reverse = False
            elif 30 <= n <= 37 or 90 <= n <= 97:
                self.front = COLOURS[n - 30] if n < 40 else BRIGHT[n - 90]
            elif 40 <= n <= 47 or 100 <= n <= 107:
                self.back = COLOURS[n - 40] if n < 50 else BRIGHT[n - 100]
            elif n in (38, 48) and numbers[:1] == [5]:
                setattr(self, "front" if n == 38 else "back", colour_of(numbers[1]))
                del numbers[:2]
            elif n == 39:
                self.front = FOREGROUND
            elif n == 49:
                self.back = BACKGROUND

    def style(self):
        front, back = (self.back, self.front) if self.reverse else (self.front, self.back)
        return "color:%s;background:%s%s%s" % (front, back, ";font-weight:bold" if self.bold else "", ";opacity:.7" if self.dim else "")


def page(text):
    pen, spans = Pen(), []
    for i, part in enumerate(SGR.split(text)):
        if i % 2:
            pen.take(part)
        elif part:
            spans.append('<span style="%s">%s</span>' % (pen.style(), html.escape(part)))
    return ('<!doctype html><meta charset=utf-8><body style="margin:20px;background:%s"><pre style="margin:0;'
            'font:15px/19px DejaVu Sans Mono,monospace">%s</pre>' % (BACKGROUND, "".join(spans)))


if __name__ == "__main__":
    sys.stdout.write(page(sys.stdin.read()))
