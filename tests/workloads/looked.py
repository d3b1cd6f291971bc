# SPDX-License-Identifier: GPL-2.0-only
"""usage: looked.py SECONDS [--hold-ms MS] [--even] SHARE...

A thread per SHARE (percent) holds the GIL for about that part of the time: it sleeps with it for a random time of about --hold-ms
(--even: for just that), clocked around it, and for what is due without it. One more thread, "idle", sleeps all the time.

Truth of a thread: hold_ns, all that it held it between the gates but for some bytecode on either side.
"""
import argparse
import random
import threading

import workload
from workload import END, START, drop, keep

parser = argparse.ArgumentParser()
parser.add_argument("seconds", type=float)
parser.add_argument("shares", type=float, nargs="+")
parser.add_argument("--hold-ms", type=float, default=2)
parser.add_argument("--even", action="store_true")
args = parser.parse_args()

IDLE = 2  # a gate

held = {}
over = threading.Event()


def hog(share):
    name = threading.current_thread().name
    dice = random.Random(name)
    drop.gate_wait(START)
    end = keep.now_ns() + int(args.seconds * 1e9)
    total = 0
    while keep.now_ns() < end:
        ns = int((1 if args.even else dice.uniform(0.5, 1.5)) * args.hold_ms * 1e6)
        begin = keep.now_ns()
        keep.nap(ns)
        took = keep.now_ns() - begin
        total += took
        drop.nap(int(took * (1 - share) / share))
    held[name] = total
    drop.gate_wait(END)


threads = [workload.start_thread("hog-%g" % share, hog, share / 100) for share in args.shares]
# From before it is looked at until after: at any other gate it would come for the GIL.
threads.append(workload.start_thread("idle", drop.gate_wait, IDLE))
drop.gate_watch(IDLE, 1)
begin, end = workload.run_gated(len(args.shares))
workload.report(begin, end, [{"tid": t.tid, "name": t.name, "hold_ns": held.get(t.name, 0)} for t in threads])
