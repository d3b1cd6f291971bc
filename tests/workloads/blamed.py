# SPDX-License-Identifier: GPL-2.0-only
"""usage: blamed.py [ROUNDS]

Two hogs take turns to hold the GIL, each in a function of its own, 60 and 20 ms at a time, while three victims wait for it.

Everything is clocked in C on both sides of each take and drop, so the truth of a hog has a lower and an upper bound: of its
holds, and of the waiting that they caused (blame). The lower one of blame is what it held from the moment that all victims
were blocked; the upper one is where the victims' own clocks of their waits lie within the hog's clocks of its holds.
"""
import ctypes
import os
import sys

import workload
from workload import END, START, BlamedTruth, Span, drop, keep

MS = 1000000
VICTIMS, SPANS = 3, 20000
rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 12
stop = ctypes.c_int(0)
tids = (ctypes.c_int * VICTIMS)()
truth = {name: BlamedTruth() for name in ("heavy", "modest")}
holds = {name: (Span * rounds)() for name in truth}
waits = [(Span * SPANS)() for _ in range(VICTIMS)]
waits_n = [ctypes.c_uint64(0) for _ in range(VICTIMS)]
lines = {}


def heavy():
    lines["heavy"] = sys._getframe().f_lineno + 1
    keep.blamed_hog(truth["heavy"], holds["heavy"], START, END, rounds, 60 * MS, 0, tids, VICTIMS)


def modest():
    lines["modest"] = sys._getframe().f_lineno + 1
    keep.blamed_hog(truth["modest"], holds["modest"], START, END, rounds, 20 * MS, 1, tids, VICTIMS)


def victim(number):
    keep.blamed_victim(waits[number], SPANS, waits_n[number], START, END, stop, 1 * MS)


def overlap(a, b):
    return max(0, min(a.end, b.end) - max(a.begin, b.begin))


def waited_within(name):
    return sum(overlap(wait, hold) for number in range(VICTIMS) for wait in waits[number][:waits_n[number].value]
               for hold in holds[name])


workload.never_force()
threads = [workload.start_thread("heavy", heavy), workload.start_thread("modest", modest)]
victims = [workload.start_thread("victim-%d" % i, victim, i) for i in range(VICTIMS)]
for i, thread in enumerate(victims):
    tids[i] = thread.tid
drop.gate_watch(START, 2 + VICTIMS)
workload.ready()
workload.expect("go")
begin = keep.now_ns()
keep.gate_open(START)
drop.gate_watch(END, 2)
stop.value = 1
drop.gate_watch(END, 2 + VICTIMS)
end = keep.now_ns()
assert all(n.value < SPANS for n in waits_n)
workload.report(begin, end, [dict(workload.as_dict(truth[t.name]), blame_high_ns=waited_within(t.name), line=lines[t.name],
                                  function=t.name, tid=t.tid, name=t.name) for t in threads],
                file=os.path.abspath(heavy.__code__.co_filename))
