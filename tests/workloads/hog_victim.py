# SPDX-License-Identifier: GPL-2.0-only
"""usage: hog_victim.py [HOLDS] [--hold-ms MS] [--gap-ms MS] [--pause-ms MS] [--victims N]

A hog holds the GIL for 50 ms at a time; victims want it all the while and clock their own stalls.

Truth of the hog: exactly HOLDS acquires between the gates, every hold timed in C around its sleep (the
real hold is longer by a few hundred nanoseconds on either side). Truth of a victim: stall_ns, clocked in
C around each release (that is the hand-off) and each acquire (that is the wait).
"""
import argparse

import workload
from workload import START, drop, keep

parser = argparse.ArgumentParser()
parser.add_argument("holds", type=int, nargs="?", default=20)
parser.add_argument("--hold-ms", type=float, default=50)
parser.add_argument("--gap-ms", type=float, default=5)
parser.add_argument("--pause-ms", type=float, default=1)
parser.add_argument("--victims", type=int, default=1)
args = parser.parse_args()

play = workload.HogPlay(args.victims, args.holds, args.hold_ms, args.gap_ms, args.pause_ms)
threads = [workload.start_thread(workload.part_name(part), play.play, part) for part in range(1 + args.victims)]
drop.gate_watch(START, len(threads))
workload.ready()
workload.expect("go")
begin = keep.now_ns()
truths = play.direct()
end = keep.now_ns()
workload.report(begin, end, [dict(truth, tid=t.tid, name=t.name) for t, truth in zip(threads, truths)])
