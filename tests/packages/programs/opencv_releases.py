# SPDX-License-Identifier: GPL-2.0-only
# needs: opencv-python-headless numpy
"""Blurs pictures without the GIL: nobody is to be blamed."""
import cv2
import numpy
from clocks import pause, releases, run, thread

picture = numpy.random.default_rng(1).integers(0, 255, (1080, 1920, 3), dtype=numpy.uint8)


def blur():
    return cv2.GaussianBlur(picture, (15, 15), 3)


blur = releases(blur)


def work():
    blur()
    pause(0.005)


def beat():
    pause(0.002)


cv2.setNumThreads(1)
thread("work", work)
thread("beat", beat)
run(6)
