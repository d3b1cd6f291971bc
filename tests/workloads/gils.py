# SPDX-License-Identifier: GPL-2.0-only
"""usage: gils.py [--after] [--rounds R [--elsewhere]] KIND:THREADS:N[:HOLD_US]...

Threads in several interpreters. Each KIND:THREADS:N is one: `own` with a GIL of its own, `shared` with the main
one, `main` the main interpreter itself. Its threads release and take their GIL N times each, holding it HOLD_US at
a time. CPython 3.12 and later.

Truth: N + 1 acquires per thread on its GIL between the gates; `gil` is the id of the interpreter whose GIL it is.

--after: the interpreters are made after `go`, so that an observer sees them appear; truth has one acquire more, with
which a thread is born. (Not of threads of `main`: what Python does at a thread's birth is not counted here.)
--rounds: that R times, one round after the other; all but the main interpreter end after each. At the end of a
round, with its threads at their end gate, it says `round {truth}` and waits for `next`; then the interpreters end and it
says `ended` and waits for `next` again. Truth is of whole lives: one acquire more still, when a thread leaves.
No truth comes after the last round.
--elsewhere: the interpreters of the next round do not get the memory of this one's.
"""
import argparse
import ctypes
import json
import sys

import workload
from workload import END, START, drop, keep

parser = argparse.ArgumentParser()
parser.add_argument("specs", nargs="+")
parser.add_argument("--after", action="store_true")
parser.add_argument("--rounds", type=int, default=0)
parser.add_argument("--elsewhere", action="store_true")
args = parser.parse_args()


class Member(ctypes.Structure):
    _fields_ = [("thread", ctypes.c_ulong), ("interp", ctypes.c_void_p), ("start", ctypes.c_int), ("end", ctypes.c_int),
                ("n", ctypes.c_uint64), ("hold_ns", ctypes.c_uint64), ("tid", ctypes.c_int)]


def library():
    ctypes.CDLL(keep._name, mode=ctypes.RTLD_GLOBAL)
    own = ctypes.PyDLL(keep._name.replace("libgilwork", "libownwork"))
    own.interp_new.restype = ctypes.c_void_p
    own.interp_new.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.POINTER(ctypes.c_int64)]
    own.interp_end.argtypes = [ctypes.c_void_p]
    own.members_start.argtypes = [ctypes.c_void_p, ctypes.POINTER(Member), ctypes.c_int]
    return own


own = library()
join = ctypes.CDLL(own._name).members_join


class Interpreter:
    """One of the command line, with its threads at their start gate."""

    def __init__(self, spec):
        kind, threads, n, hold_us = (spec + ":0").split(":")[:4]
        self.kind, self.id, self.tstate = kind, 0, None
        self.n, self.hold_ns = int(n), int(hold_us) * 1000
        if kind == "main":
            self.threads = [workload.start_thread("main-%d" % i, keep.cycle_holding, START, END, self.n, self.hold_ns)
                            for i in range(int(threads))]
            self.tids = [t.tid for t in self.threads]
            return
        number = ctypes.c_int64()
        self.tstate = own.interp_new(kind == "own", "t" in sys.abiflags, ctypes.byref(number))
        assert self.tstate, "no interpreter could be made"
        self.id = number.value
        self.members = (Member * int(threads))()
        for m in self.members:
            m.start, m.end, m.n, m.hold_ns = START, END, self.n, self.hold_ns
        own.members_start(self.tstate, self.members, len(self.members))
        self.tids = [m.tid for m in self.members]

    def truth(self):
        gil = self.id if self.kind == "own" else 0
        outside = 2 if args.rounds else int(args.after)
        count = {} if outside and self.kind == "main" else {"acquires": self.n + 1 + outside}
        return [dict(tid=tid, name=self.kind, interp=self.id, gil=gil, **count) for tid in self.tids]

    def end(self):
        if self.kind == "main":
            for t in self.threads:
                t.join()
            return
        join(self.members, len(self.members))
        own.interp_end(self.tstate)


def make():
    interpreters = [Interpreter(spec) for spec in args.specs]
    count = sum(len(i.tids) for i in interpreters)
    drop.gate_watch(START, count)
    return interpreters, count


def run(count):
    keep.gate_open(START)
    drop.gate_watch(END, count)


def truth_of(interpreters):
    return [t for i in interpreters for t in i.truth()]


def play_round():
    interpreters, count = make()
    run(count)
    workload.say("round " + json.dumps({"threads": truth_of(interpreters)}))
    workload.expect("next")
    keep.gate_open(END)
    for i in interpreters:
        i.end()
    if args.elsewhere:
        own.memory_fill()
    keep.gate_shut(START)
    keep.gate_shut(END)
    workload.say("ended")
    workload.expect("next")


workload.never_force()
if args.rounds:
    workload.ready()
    workload.expect("go")
    for _ in range(args.rounds):
        play_round()
    workload.expect("quit")
made = None if args.after else make()
workload.ready()
workload.expect("go")
begin = keep.now_ns()
everybody, count = made or make()
run(count)
workload.report(begin, keep.now_ns(), truth_of(everybody))
