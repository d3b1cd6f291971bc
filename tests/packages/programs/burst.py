# SPDX-License-Identifier: GPL-2.0-only
"""One thread computes in Python for 15 ms at a time and lets go when it is asked to; three others serve, and are late."""
from clocks import cause, computes, pause, run, size_for, thread


def spin(n):
    total = 0
    for i in range(n):
        total += i
    return total


turns = size_for(15, spin)
spin = computes(spin)


def job():
    spin(turns)
    pause(0.05)


def web():
    pause(0.005)
    sum(range(1000))


thread("job", job)
for i in range(3):
    thread("web-%d" % i, web)
cause("convoy", "spin", "job")
run(6)
