# SPDX-License-Identifier: GPL-2.0-only
# needs: scikit-learn numpy
"""Two threads multiply matrices and search neighbours, mostly without the GIL: nobody is to be blamed."""
import numpy
from clocks import pause, releases, run, thread
from sklearn.neighbors import KDTree

random = numpy.random.default_rng(1)
points, asked = random.random((20000, 8)), random.random((300, 8))
tree = KDTree(points)
matrix = random.random((600, 600))


def search():
    return tree.query(asked, k=5)


def multiply():
    return matrix @ matrix


search, multiply = releases(search), releases(multiply)


def work():
    multiply()
    pause(0.005)


def beat():
    pause(0.002)


thread("multiplier", work)
thread("beat", beat)
run(6)
