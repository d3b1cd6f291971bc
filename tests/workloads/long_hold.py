# SPDX-License-Identifier: GPL-2.0-only
"""usage: long_hold.py SECONDS | long_hold.py told

One hold of the GIL, SECONDS long, begun at `go`, while another thread waits for it. `told`: it says `held` when it has begun, and
lasts until the next line.

Truth: begin and end of the hold (ns, CLOCK_MONOTONIC) from inside, the function and line it is called from, and the victim's stall.
"""
import ctypes
import os
import sys

import workload
from workload import END, START, HogTruth, VictimTruth, as_dict, drop, keep

hog_truth, victim_truth, stop = HogTruth(), VictimTruth(), ctypes.c_int(0)


def hog():
    keep.hog(hog_truth, START, END, 1, int(float(sys.argv[1]) * 1e9), 0)


def hog_until_told():
    if keep.hog_until_told(hog_truth, START, END) != 0:
        os._exit(1)


def victim():
    keep.victim(victim_truth, START, END, stop, 1000000)


hold = hog_until_told if sys.argv[1] == "told" else hog
threads = [workload.start_thread("hog", hold), workload.start_thread("victim", victim)]
drop.gate_watch(START, 2)
workload.ready()
workload.expect("go")
begin = keep.now_ns()
keep.gate_open(START)
drop.gate_watch(END, 1)
stop.value = 1
drop.gate_watch(END, 2)
end = keep.now_ns()
workload.report(begin, end, [dict(as_dict(hog_truth), tid=threads[0].tid, name="hog", acquires=1,
                                  function=hold.__name__, line=hold.__code__.co_firstlineno + 1),
                             dict(as_dict(victim_truth), tid=threads[1].tid, name="victim")])
