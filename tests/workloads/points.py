# SPDX-License-Identifier: GPL-2.0-only
"""usage: points.py HOLD_MS WANTS WAITERS [--c] [--pool] [--crowded N]

A point of the verdict's grid (tests/unit/test_verdict_grid.c) as a program: it goes on until it is killed. A worker computes for
HOLD_MS of CPU time at a time, WANTS of the time if it were alone (0 to 1), and pauses in between without the GIL; WAITERS want
the GIL for moments.
--c: the worker computes in C code that keeps the GIL, else in Python. --pool: the waiters do the same as the worker.
--crowded: workers share a CPU with N processes that compute.

Truth: these parameters. Workers compute in c_work() or python_work(), the others are in moment().
"""
import argparse
import ctypes
import multiprocessing
import os
import random
import time

import workload
from workload import START, drop, keep

parser = argparse.ArgumentParser()
parser.add_argument("hold_ms", type=float)
parser.add_argument("wants", type=float)
parser.add_argument("waiters", type=int)
parser.add_argument("--c", action="store_true")
parser.add_argument("--pool", action="store_true")
parser.add_argument("--crowded", type=int, default=0)
args = parser.parse_args()

HOLD_NS = int(args.hold_ms * 1e6)
PAUSE_NS = HOLD_NS * (1 - args.wants) / args.wants
MOMENT_EVERY_NS = 8000000


def count_up(turns):
    total = 0
    for i in range(turns):
        total += i
    return total


def turns_per_ns():
    begin = time.thread_time_ns()
    count_up(1000000)
    return 1000000 / (time.thread_time_ns() - begin)


TURNS = int(HOLD_NS * turns_per_ns())


def c_work():
    keep.compute(HOLD_NS)


def python_work():
    total = 0
    for i in range(TURNS):
        total += i
    return total


def moment():
    drop.nap(int(random.uniform(0.5, 1.5) * MOMENT_EVERY_NS))


def crowd(cpu):
    ctypes.CDLL(None).prctl(1, 9)  # PR_SET_PDEATHSIG, SIGKILL
    os.sched_setaffinity(0, {cpu})
    while True:
        pass


def work():
    compute = c_work if args.c else python_work
    if args.crowded:
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    drop.gate_wait(START)
    while True:
        compute()
        drop.nap(int(random.uniform(0.5, 1.5) * PAUSE_NS))


def wait():
    drop.gate_wait(START)
    while True:
        moment()


random.seed(1)
for _ in range(args.crowded):
    multiprocessing.get_context("fork").Process(target=crowd, args=(min(os.sched_getaffinity(0)),), daemon=True).start()
threads = [workload.start_thread("worker-0", work)]
threads += [workload.start_thread("worker-%d" % (i + 1) if args.pool else "waiter-%d" % i, work if args.pool else wait)
            for i in range(args.waiters)]
drop.gate_watch(START, len(threads))
workload.ready()
workload.expect("go")
keep.gate_open(START)
workload.expect("quit")
