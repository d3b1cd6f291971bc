# SPDX-License-Identifier: GPL-2.0-only
"""One thread computes in Python and now and then sleeps with the GIL in C: two causes, two pieces of code."""
from clocks import cause, computes, keep, pause, run, size_for, sleeps, thread


def crunch(n):
    total = 0
    for i in range(n):
        total += i
    return total


turns = size_for(60, crunch)
crunch = computes(crunch)


@sleeps(0.012)
def legacy_lookup():
    keep.nap(12000000)


def job():
    crunch(turns)
    legacy_lookup()
    pause(0.02)


def web():
    pause(0.005)
    sum(range(1000))


thread("job", job)
for i in range(3):
    thread("web-%d" % i, web)
cause("convoy", "crunch", "job")
cause("blocked_hold", "legacy_lookup", "job")
run(6)
