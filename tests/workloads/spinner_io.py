# SPDX-License-Identifier: GPL-2.0-only
"""usage: spinner_io.py SECONDS [--io N] [--pause-ms MS] [--hold-ms MS]

A spinner in pure Python, which never lets go of its own accord and is forced out every time, beside
threads that want the GIL for a moment every few milliseconds, as threads that do I/O.

Truth: the I/O threads' stalls, clocked in C; the spinner's CPU time, which is its holding, and the span,
the rest of which it waited (on a machine with a core to spare); how long each had no CPU (delay_ns, since it began).
--hold-ms: the I/O threads keep the GIL that long each time, so that the spinner has something to wait
for; they do not clock their stalls then.
"""
import argparse
import ctypes
import time

import workload
from workload import END, START, VictimTruth, as_dict, drop, keep

parser = argparse.ArgumentParser()
parser.add_argument("seconds", type=float)
parser.add_argument("--io", type=int, default=2)
parser.add_argument("--pause-ms", type=float, default=2)
parser.add_argument("--hold-ms", type=float)
args = parser.parse_args()

stop = ctypes.c_int(0)
truths = [VictimTruth() for _ in range(args.io)]
spinner_truth = {}


def spin():
    drop.gate_wait(START)
    before, begin = time.thread_time_ns(), time.monotonic_ns()
    x = 0
    while time.monotonic_ns() - begin < args.seconds * 1e9:
        for i in range(1000):
            x += i * i
    spinner_truth.update(cpu_ns=time.thread_time_ns() - before, span_ns=time.monotonic_ns() - begin)
    stop.value = 1
    drop.gate_wait(END)


def io(truth):
    if args.hold_ms is not None:
        drop.gate_wait(START)
        while not stop.value:
            drop.nap(int(args.pause_ms * 1e6))
            keep.nap(int(args.hold_ms * 1e6))
        drop.gate_wait(END)
        return
    keep.victim(truth, START, END, stop, int(args.pause_ms * 1e6))


threads = [workload.start_thread("spinner", spin)]
threads += [workload.start_thread("io-%d" % i, io, t) for i, t in enumerate(truths)]
begin, end = workload.run_gated(len(threads))
workload.report(begin, end, [dict(t, tid=thread.tid, name=thread.name, delay_ns=workload.run_delay_ns(thread.tid))
                             for thread, t in zip(threads, [spinner_truth] + [as_dict(t) for t in truths])])
