# SPDX-License-Identifier: GPL-2.0-only
"""usage: crowd.py N

One hold of the GIL, begun at `go` (it says `held` then) and as long as until the next line, while N threads queue for it. Before
that nobody takes it; afterwards each does every 20 ms.

Truth: begin and end of the hold (ns, CLOCK_MONOTONIC) from inside.
"""
import os
import sys
import threading
import time

import workload
from workload import END, START, HogTruth, as_dict, drop, keep

hog_truth = HogTruth()


def hog():
    if keep.hog_until_told(hog_truth, START, END) != 0:
        os._exit(1)


def member():
    drop.gate_wait(START)
    while True:
        time.sleep(0.02)


threading.stack_size(128 << 10)
for i in range(int(sys.argv[1])):
    threading.Thread(target=member, name="member-%d" % i, daemon=True).start()
holder = workload.start_thread("hog", hog)
drop.gate_watch(START, 1 + int(sys.argv[1]))
workload.ready()
workload.expect("go")
begin = keep.now_ns()
keep.gate_open(START)
drop.gate_watch(END, 1)
workload.report(begin, keep.now_ns(), [dict(as_dict(hog_truth), tid=holder.tid, name="hog", acquires=1)])
