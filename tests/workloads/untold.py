# SPDX-License-Identifier: GPL-2.0-only
"""usage: untold.py [--lets-go]

One thread, which keeps the GIL from before it says that it is ready until it has told the truth: an observer sees no event of
that hold. It computes in Python code, sleeps for a moment, and gives its CPU away right after that, to somebody in the background
who wants nothing else, each in a function of its own. Words are read and written without letting go, too.

Truth: how long each function took, CLOCK_MONOTONIC, since `go`, for 3 s; and when that began.

--lets-go: at `go` it lets go once, so that the hold is one whose beginning was seen.
"""
import ctypes
import json
import os
import sys

from workload import drop, keep

libc = ctypes.PyDLL(None)
now = keep.now_ns
SPENT = {}


def clocked(function):
    def run():
        begin = now()
        function()
        SPENT[function.__name__] = SPENT.get(function.__name__, 0) + now() - begin
    return run


@clocked
def counts():
    total = 0
    for i in range(6000):
        total += i


@clocked
def naps():
    keep.nap(100000)


@clocked
def gives_way():
    libc.sched_yield()


def write(line):
    libc.write(1, line, len(line))


def is_told():
    """Whether a line has come."""
    line = ctypes.create_string_buffer(64)
    waiting = ctypes.c_int(0)
    libc.ioctl(0, 0x541B, ctypes.byref(waiting))  # FIONREAD
    if waiting.value:
        libc.read(0, line, 64)
    return waiting.value > 0


def be_idle(parent):
    """Wants the CPU whenever nobody else does, until the parent has ended."""
    os.nice(19)
    while os.getppid() == parent:
        for _ in range(1000):
            pass
    os._exit(0)


os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])
me = os.getpid()
if os.fork() == 0:
    be_idle(me)
write(b"ready %d\n" % me)
end = None
while end is None or now() < end:
    for _ in range(20):
        naps()
        gives_way()
        counts()
    if end is None and is_told():
        if "--lets-go" in sys.argv:
            drop.noop()
        SPENT.clear()
        begin, end = now(), now() + 3000000000
write(json.dumps({"pid": me, "begin_ns": begin, "end_ns": now(), "threads": [], "spent_ns": SPENT}).encode() + b"\n")
while not is_told():
    keep.nap(1000000)
os._exit(0)
