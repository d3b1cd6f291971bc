# SPDX-License-Identifier: GPL-2.0-only
"""usage: last_of_many.py N

N threads that do nothing, and one that began after them: it computes for 3 s of CPU time between the gates, lets go after each
10 ms, and sleeps as long.
"""
import sys
import threading
import time

import workload
from workload import END, START, drop, keep


def idles():
    drop.gate_wait(END)


def computes():
    keep.compute(10000000)


def works():
    drop.gate_wait(START)
    while time.thread_time() < 3:
        computes()
        time.sleep(0.01)
    drop.gate_wait(END)


threading.stack_size(128 << 10)
for i in range(int(sys.argv[1])):
    threading.Thread(target=idles, name="idle-%d" % i, daemon=True).start()
worker = workload.start_thread("works", works)
drop.gate_watch(START, 1)
workload.ready()
workload.expect("go")
begin = keep.now_ns()
keep.gate_open(START)
drop.gate_watch(END, 1 + int(sys.argv[1]))
workload.report(begin, keep.now_ns(), [{"tid": worker.tid, "name": "works"}])
