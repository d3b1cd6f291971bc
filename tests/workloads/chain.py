# SPDX-License-Identifier: GPL-2.0-only
"""usage: chain.py

One wait, several holders: alpha has the GIL while bravo, charlie, delta and the victim block on it, in this order; then each of
them gets it in turn, holds it for a time of its own, in a function of its own, and hands it on. A scene for every line `scene`.

That the GIL goes from hand to hand in that order is how waiters are woken; whether it did, the clocks tell (`chain`). They are read
in C on both sides of each take and drop, so that everything has a lower and an upper bound, whatever the machine does: the hold of
each, and of each waiter and each holder how much of the one's wait fell into the other's hold (blame).
"""
import json
import os
import sys

import workload
from workload import START, Chain, drop, keep

MS = 1000000
HOLDS = {"alpha": 16 * MS, "bravo": 8 * MS, "charlie": 32 * MS, "delta": 24 * MS, "victim": 0}
names = list(HOLDS)
chain = Chain()
lines = {}


def alpha():
    lines["alpha"] = sys._getframe().f_lineno + 1
    keep.chain_member(chain, 0, START)


def bravo():
    lines["bravo"] = sys._getframe().f_lineno + 1
    keep.chain_member(chain, 1, START)


def charlie():
    lines["charlie"] = sys._getframe().f_lineno + 1
    keep.chain_member(chain, 2, START)


def delta():
    lines["delta"] = sys._getframe().f_lineno + 1
    keep.chain_member(chain, 3, START)


def victim():
    lines["victim"] = sys._getframe().f_lineno + 1
    keep.chain_member(chain, 4, START)


def hold(links, i):
    """Bounds of the hold of number i: from its acquire, which follows the release of the one before, to its release."""
    earliest = links[i - 1].letting if i else links[0].wanted
    return [links[i].letting - links[i].got, links[i].let_go - earliest]


def wait(links, i):
    """Bounds of the wait of number i, which begins before it is seen blocked and ends after the release of the one before."""
    return [links[i - 1].letting - links[i].blocked, links[i].got - links[i].wanted] if i else [0, 0]


def blame(links, i, holder):
    if i <= holder:
        return [0, 0]
    if holder:
        return hold(links, holder)
    return [links[0].letting - links[i].blocked, links[0].let_go - links[i].wanted]


def scene():
    drop.chain_play(chain)
    links = chain.links[:chain.n]
    said = {"chain": all(links[i].letting <= links[i + 1].got <= links[i + 1].letting for i in range(chain.n - 1)), "links": []}
    for i, name in enumerate(names):
        said["links"].append({"name": name, "tid": links[i].tid, "line": lines[name], "hold": hold(links, i),
                              "wait": wait(links, i), "blame": [blame(links, i, j) for j in range(chain.n)]})
    workload.say(json.dumps(said))


workload.never_force()
if drop.chain_open(chain, len(names)):
    raise OSError("no pipes")
for i, name in enumerate(names):
    chain.links[i].hold_ns = HOLDS[name]
    chain.links[i].tid = workload.start_thread(name, globals()[name]).tid
drop.gate_watch(START, len(names))
workload.ready()
keep.gate_open(START)
while True:
    workload.expect("scene")
    scene()
