# SPDX-License-Identifier: GPL-2.0-only
"""usage: shares.py SECONDS [WAITERS] [--shuffle]

A thread does ten things again and again, each in a function of its own that keeps the GIL: C code and bytecode on a CPU, C code
asleep, from 0.05 to 12 ms. After each it lets go, for a moment, in another function. Each function is clocked by the program
(CLOCK_MONOTONIC), so the truth is what part of the thread's holding each had. Waiters come for the GIL all the time and clock
their waits, so the truth is as well how much of them was during each function. Nobody is ever forced to let go: no function's
time has waiting in it.
"""
import argparse
import bisect
import ctypes
import random
import sys

import workload
from workload import END, START, Span, drop, keep

parser = argparse.ArgumentParser()
parser.add_argument("seconds", type=float)
parser.add_argument("waiters", type=int, nargs="?", default=0)
parser.add_argument("--shuffle", action="store_true")
args = parser.parse_args()

MS = 1000000
now = keep.now_ns


def count_up(turns):
    total = 0
    for i in range(turns):
        total += i
    return total


def turns_of(ns):
    begin = now()
    count_up(100000)
    return int(100000 * ns / (now() - begin))


def c_shortest():
    keep.burn(50000)


def c_short():
    keep.burn(300000)


def c_middle():
    keep.burn(1 * MS)


def c_long():
    keep.burn(3 * MS)


def c_longest():
    keep.burn(7 * MS)


def python_short():
    count_up(SHORT)


def python_long():
    count_up(LONG)


def asleep_short():
    keep.nap(400000)


def asleep_long():
    keep.nap(4 * MS)


def c_then_asleep():
    keep.burn(1 * MS)
    keep.nap(1 * MS)


def lets_go():
    drop.noop()


SHORT, LONG = turns_of(0.7 * MS), turns_of(2.5 * MS)
FUNCTIONS = [c_shortest, c_short, c_longest, python_short, asleep_short, c_middle, python_long, c_then_asleep, asleep_long,
             c_long]
ROOM = 100000
stop = ctypes.c_int(0)
waits = [(Span * ROOM)() for _ in range(args.waiters)]
waits_n = [ctypes.c_uint64(0) for _ in range(args.waiters)]
spans = [] # of functions: begin, end, name


def work():
    order = list(FUNCTIONS)
    drop.gate_wait(START)
    end = now() + int(args.seconds * 1e9)
    while now() < end:
        if args.shuffle:
            random.shuffle(order)
        for function in order:
            begin = now()
            function()
            spans.append((begin, now(), function.__name__))
            lets_go()
    stop.value = 1
    drop.gate_wait(END)


def waiter(number):
    keep.blamed_victim(waits[number], ROOM, waits_n[number], START, END, stop, 1 * MS)


def spent():
    total = {function.__name__: 0 for function in FUNCTIONS}
    for begin, end, name in spans:
        total[name] += end - begin
    return total


def waited():
    total = {function.__name__: 0 for function in FUNCTIONS}
    begins = [begin for begin, _, _ in spans]
    for number in range(args.waiters):
        for wait in waits[number][:waits_n[number].value]:
            at = max(0, bisect.bisect_right(begins, wait.begin) - 1)
            while at < len(spans) and spans[at][0] < wait.end:
                total[spans[at][2]] += max(0, min(spans[at][1], wait.end) - max(spans[at][0], wait.begin))
                at += 1
    return total


random.seed(1)
workload.never_force()
worker = workload.start_thread("worker", work)
waiters = [workload.start_thread("waiter-%d" % i, waiter, i) for i in range(args.waiters)]
begin, end = workload.run_gated(1 + len(waiters))
workload.report(begin, end, [{"tid": t.tid, "name": t.name} for t in [worker] + waiters], spent_ns=spent(),
                waited_ns=waited())
