# SPDX-License-Identifier: GPL-2.0-only
# needs: numba numpy
"""A loop compiled by numba keeps the GIL for 40 ms, as it does unless it is told not to; the same with nogil does not."""
import numba
from clocks import cause, keeps, pause, releases, run, size_for, thread


def turn(n):
    total = 0.0
    for i in range(n):
        total += (i % 7) * 0.5
    return total


compiled, without_gil = numba.njit(turn), numba.njit(turn, nogil=True)
compiled(10)
without_gil(10)


def simulate(n):
    return compiled(n)


def simulate_aside(n):
    return without_gil(n)


turns = size_for(40, simulate)
simulate, simulate_aside = keeps(simulate), releases(simulate_aside)


def work():
    simulate(turns)
    simulate_aside(turns)
    pause(0.02)


def beat():
    pause(0.002)


thread("work", work)
thread("beat", beat)
cause("long_hold", "simulate", "work")
run(6)
