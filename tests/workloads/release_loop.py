# SPDX-License-Identifier: GPL-2.0-only
"""usage: release_loop.py N [THREADS] [--call KIND] [--start-early] [--seconds S]

Each thread makes exactly N calls that release the GIL once.

Truth: N + 1 acquires per thread between the gates (the gate's own is the one), as many releases, none of
them forced: the switch interval is 1000 s, so no waiter ever asks. The calls:

    noop   an empty C function through ctypes.CDLL        stat   os.stat("/")
    read   os.read of one byte of /dev/zero               crc32  zlib.crc32 of 8 kB
    cycle  PyEval_SaveThread and PyEval_RestoreThread in a C loop, no bytecode between

--start-early: the threads release the GIL in a loop from the start, so that an observer attaches in the
middle. The talk then has one step more: on `pause` they stop at their start gates and the program says
`paused {"early": {"TID": calls, ...}}`; `go` and all that follows is as ever.
--seconds: until S seconds have passed instead of N calls (N is ignored); truth says how many it were.
"""
import argparse
import json
import os
import time
import zlib

import workload
from workload import END, START, drop, keep

parser = argparse.ArgumentParser()
parser.add_argument("n", type=int)
parser.add_argument("threads", type=int, nargs="?", default=1)
parser.add_argument("--call", choices=("noop", "stat", "read", "crc32", "cycle"), default="noop")
parser.add_argument("--start-early", action="store_true")
parser.add_argument("--seconds", type=float)
args = parser.parse_args()

zero = os.open("/dev/zero", os.O_RDONLY)
block = bytes(8192)
calls = {
    "noop": lambda: drop.noop,
    "stat": lambda: lambda: os.stat("/"),
    "read": lambda: lambda: os.read(zero, 1),
    "crc32": lambda: lambda: zlib.crc32(block),
    "cycle": lambda: drop.noop,
}
paused = False
early = {}
done = {}


def hammer(call):
    """Releases the GIL until `pause`."""
    n = 0
    while not paused:
        call()
        n += 1
    early[keep.thread_id()] = n


def loop(call):
    drop.gate_wait(START)
    if args.seconds is None:
        for _ in range(args.n):
            call()
        n = args.n
    else:
        n = 0
        end = time.monotonic() + args.seconds
        while time.monotonic() < end:
            call()
            n += 1
    done[keep.thread_id()] = n
    drop.gate_wait(END)


def body():
    call = calls[args.call]()
    if args.start_early:
        hammer(call)
    if args.call == "cycle" and args.seconds is None:
        done[keep.thread_id()] = args.n
        keep.cycle(START, END, args.n)
    else:
        loop(call)


workload.never_force()
threads = [workload.start_thread("loop-%d" % i, body) for i in range(args.threads)]
if args.start_early:
    workload.ready()
    workload.expect("pause")
    paused = True
    drop.gate_watch(START, args.threads)
    workload.say("paused " + json.dumps({"early": early}))
    workload.expect("go")
    begin = keep.now_ns()
    keep.gate_open(START)
    drop.gate_watch(END, args.threads)
    end = keep.now_ns()
else:
    begin, end = workload.run_gated(args.threads)
workload.report(begin, end, [
    {"tid": t.tid, "name": t.name, "calls": done[t.tid], "acquires": done[t.tid] + 1, "forced": 0}
    for t in threads])
