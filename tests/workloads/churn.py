# SPDX-License-Identifier: GPL-2.0-only
"""usage: churn.py [SHORT] [LONG] [--wave N] [--naps N] [--reuse]

SHORT threads that live for a moment, in waves of at most N at a time, beside LONG ones that stay.

Truth: a short thread acquires the GIL once to begin and once per call it makes, and releases it as often:
1 + calls each. `lives` lists them in the order in which they began: [tid, calls]. A long thread makes a
known number of naps between its gates: naps + 1.
--reuse: asks the kernel for the same ids again and again (needs root); `reused` says how often it obeyed.
"""
import argparse
import _thread
import os

import threading
import workload
from workload import END, START, drop, keep

parser = argparse.ArgumentParser()
parser.add_argument("short", type=int, nargs="?", default=2000)
parser.add_argument("long", type=int, nargs="?", default=200)
parser.add_argument("--wave", type=int, default=50)
parser.add_argument("--naps", type=int, default=50)
parser.add_argument("--reuse", action="store_true")
args = parser.parse_args()
lives = []


def short_life(calls):
    lives.append((keep.thread_id(), calls))
    for _ in range(calls):
        drop.noop()


def long_life():
    drop.gate_wait(START)
    for _ in range(args.naps):
        drop.nap(10 * 10**6)
    drop.gate_wait(END)


def threads_alive():
    return len(os.listdir("/proc/self/task"))


def ask_for_tid(tid):
    """The next thread of this PID namespace gets the first free id from `tid` on."""
    with open("/proc/sys/kernel/ns_last_pid", "w") as f:
        f.write(str(tid - 1))


def wave(first, n):
    for i in range(first, first + n):
        if args.reuse and lives:
            ask_for_tid(lives[0][0])
        _thread.start_new_thread(short_life, (1 + i % 7,))
    while threads_alive() > others:
        drop.nap(500000)


workload.never_force()
threading.stack_size(256 * 1024)
threads = [workload.start_thread("long-%d" % i, long_life) for i in range(args.long)]
drop.gate_watch(START, args.long)
others = threads_alive()
workload.ready()
workload.expect("go")
begin = keep.now_ns()
keep.gate_open(START)
for first in range(0, args.short, args.wave):
    wave(first, min(args.wave, args.short - first))
drop.gate_watch(END, args.long)
end = keep.now_ns()
workload.report(begin, end, [{"tid": t.tid, "name": t.name, "acquires": args.naps + 1, "forced": 0}
                             for t in threads],
                lives=lives, short_acquires=sum(1 + calls for _, calls in lives),
                reused=len(lives) - len({tid for tid, _ in lives}))
