# SPDX-License-Identifier: GPL-2.0-only
"""usage: guilty.py [ROUNDS] [--hang] [--depth N]

Two hogs hold the GIL in functions of their own, 60 and 20 ms at a time, while three victims wait for it.

A hog first sees that all victims are blocked, then clocks its sleep: others have waited for at least `victims` times that
(blame_low_ns). No waiter ever asks for the GIL, so what lets go is the hogs' own call: the truth names its line, and that of the sleep. With
--hang the first hog never lets go: no truth comes then, but the line `hangs` before it does.
"""
import argparse
import os
import sys

import workload
from workload import END, START, drop, keep

parser = argparse.ArgumentParser()
parser.add_argument("rounds", type=int, nargs="?", default=8)
parser.add_argument("--hang", action="store_true")
parser.add_argument("--depth", type=int, default=40)
args = parser.parse_args()

VICTIMS = 3
MS = 1000000
truth = {name: {"hold_low_ns": 0, "function": name} for name in ("heavy", "modest")}
done, out = [], []
tids = []


def await_blocked():
    while not all(keep.in_futex(tid) for tid in tids):
        keep.nap(50000)


def heavy(mine):
    await_blocked()
    begin = keep.now_ns()
    keep.nap(60 * MS); mine["call_line"] = sys._getframe().f_lineno
    mine["hold_low_ns"] += keep.now_ns() - begin
    drop.nap(3 * MS); mine["line"] = sys._getframe().f_lineno


def modest(mine):
    await_blocked()
    begin = keep.now_ns()
    keep.nap(20 * MS); mine["call_line"] = sys._getframe().f_lineno
    mine["hold_low_ns"] += keep.now_ns() - begin
    drop.nap(3 * MS); mine["line"] = sys._getframe().f_lineno


def hang(mine):
    await_blocked()
    os.write(1, b"hangs\n")
    keep.nap(3600 * 1000 * MS)


def descend(depth, function, mine):
    if depth:
        return descend(depth - 1, function, mine)
    return function(mine)


def hog(function):
    mine = truth.get(function.__name__, {})
    drop.gate_wait(START)
    while len(out) < VICTIMS: # at the gate they are blocked, too
        drop.nap(1 * MS)
    for _ in range(args.rounds):
        descend(args.depth, function, mine)
    done.append(1)
    drop.gate_wait(END)


def waits_here():
    drop.nap(1 * MS)


def victim():
    drop.gate_wait(START)
    out.append(1)
    while len(done) < 2:
        waits_here()
    drop.gate_wait(END)


if not args.hang:
    workload.never_force()
threads = [workload.start_thread("heavy", hog, hang if args.hang else heavy), workload.start_thread("modest", hog, modest)]
victims = [workload.start_thread("victim-%d" % i, victim) for i in range(VICTIMS)]
tids.extend(t.tid for t in victims)
begin, end = workload.run_gated(len(threads) + VICTIMS)
for one in truth.values():
    one["blame_low_ns"] = one["hold_low_ns"] * VICTIMS
workload.report(begin, end, [dict(truth[t.name], tid=t.tid, name=t.name) for t in threads] +
                [{"tid": t.tid, "name": t.name} for t in victims], file=heavy.__code__.co_filename)
