# SPDX-License-Identifier: GPL-2.0-only
"""usage: hog_victim.py [HOLDS] [--hold-ms MS] [--gap-ms MS] [--pause-ms MS] [--victims N]

A hog holds the GIL for 50 ms at a time; victims want it all the while and clock their own stalls.

Truth of the hog: exactly HOLDS acquires between the gates, every hold timed in C around its sleep (the
real hold is longer by a few hundred nanoseconds on either side). Truth of a victim: stall_ns, clocked in
C around each release (that is the hand-off) and each acquire (that is the wait).
"""
import argparse
import ctypes

import workload
from workload import END, START, HogTruth, VictimTruth, as_dict, drop, keep

parser = argparse.ArgumentParser()
parser.add_argument("holds", type=int, nargs="?", default=20)
parser.add_argument("--hold-ms", type=float, default=50)
parser.add_argument("--gap-ms", type=float, default=5)
parser.add_argument("--pause-ms", type=float, default=1)
parser.add_argument("--victims", type=int, default=1)
args = parser.parse_args()

stop = ctypes.c_int(0)
hog_truth = HogTruth()
victim_truths = [VictimTruth() for _ in range(args.victims)]


def hog():
    keep.hog(hog_truth, START, END, args.holds, int(args.hold_ms * 1e6), int(args.gap_ms * 1e6))


def victim(truth):
    keep.victim(truth, START, END, stop, int(args.pause_ms * 1e6))


threads = [workload.start_thread("hog", hog)]
threads += [workload.start_thread("victim-%d" % i, victim, t) for i, t in enumerate(victim_truths)]
drop.gate_watch(START, len(threads))
workload.ready()
workload.expect("go")
begin = keep.now_ns()
keep.gate_open(START)
drop.gate_watch(END, 1)
stop.value = 1
drop.gate_watch(END, len(threads))
end = keep.now_ns()

truths = [dict(as_dict(hog_truth), acquires=args.holds)] + [as_dict(t) for t in victim_truths]
workload.report(begin, end, [dict(truth, tid=t.tid, name=t.name) for t, truth in zip(threads, truths)])
