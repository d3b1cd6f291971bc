# SPDX-License-Identifier: GPL-2.0-only
"""usage: off_cpu.py HOLDS [--sleep-ms MS] [--work-ms MS] [--gap-ms MS] [--crowded [N]] [--go-on]

A worker holds the GIL HOLDS times; in each hold it sleeps and then computes, in C. A victim wants the GIL
all the while.
--crowded: the worker shares its CPU with a child process (or N) that computes, so it is often preempted.
--go-on: HOLDS again and again, until killed; no truth.

Truth of the worker: its own clocks of time, CPU time and the scheduler's account of its waiting for a CPU,
inside its holds (inside_*) and from gate to gate (all_*).
"""
import argparse
import ctypes
import multiprocessing
import os

import workload
from workload import END, START, VictimTruth, WorkerTruth, as_dict, drop, keep

parser = argparse.ArgumentParser()
parser.add_argument("holds", type=int)
parser.add_argument("--sleep-ms", type=float, default=0)
parser.add_argument("--work-ms", type=float, default=0)
parser.add_argument("--gap-ms", type=float, default=1)
parser.add_argument("--crowded", type=int, nargs="?", const=1, default=0)
parser.add_argument("--go-on", action="store_true")
args = parser.parse_args()

stop = ctypes.c_int(0)
truth, victim_truth = WorkerTruth(), VictimTruth()


def die_with_parent():
    ctypes.CDLL(None).prctl(1, 9)  # PR_SET_PDEATHSIG, SIGKILL


def crowd(cpu):
    die_with_parent()
    os.sched_setaffinity(0, {cpu})
    while True:
        pass


def hold():
    keep.worker(truth, START, END, args.holds, *(int(ms * 1e6) for ms in (args.sleep_ms, args.work_ms, args.gap_ms)))


def work():
    if args.crowded:
        os.sched_setaffinity(0, {cpu})
    hold()
    while args.go_on:
        hold()


def victim():
    keep.victim(victim_truth, START, END, stop, 1000000)


if args.crowded:
    cpu = min(os.sched_getaffinity(0))
    for _ in range(args.crowded):
        multiprocessing.get_context("fork").Process(target=crowd, args=(cpu,), daemon=True).start()
threads = [workload.start_thread("worker", work), workload.start_thread("victim", victim)]
if args.go_on:
    keep.gate_open(END)
drop.gate_watch(START, 2)
workload.ready()
workload.expect("go")
begin = keep.now_ns()
keep.gate_open(START)
if args.go_on:
    workload.expect("quit")
drop.gate_watch(END, 1)
stop.value = 1
drop.gate_watch(END, 2)
end = keep.now_ns()

spent = {"%s_%s" % (part, name): value for part in ("inside", "all")
         for name, value in as_dict(getattr(truth, part)).items()}
workload.report(begin, end, [dict(spent, tid=threads[0].tid, name="worker", holds=truth.holds),
                             dict(as_dict(victim_truth), tid=threads[1].tid, name="victim")])
