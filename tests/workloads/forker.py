# SPDX-License-Identifier: GPL-2.0-only
"""usage: forker.py fork [CHILDREN] [CALLS] | exec-python SCRIPT ARG... | exec-other

fork: on `go`, children are forked that make CALLS GIL-releasing calls each and then stay. Truth: their
ids and the time of their calls; that they report at all says that nothing killed them. They die with
their parent, a thread of which makes CALLS calls too.
exec-python: on `go` the process becomes another run of the same python, which begins the talk anew with
its own `ready`. The script is one of those beside this one.
exec-other: it becomes a shell that says `ready PID` and stays until `quit`.
"""
import ctypes
import os
import signal
import sys
import warnings

import workload
from workload import END, START, drop, keep

PR_SET_PDEATHSIG = 1
SHELL = 'echo "ready $$"; while read -r line; do [ "$line" = quit ] && exit 0; done'


def loop(calls):
    for _ in range(calls):
        drop.noop()


def gated(calls):
    drop.gate_wait(START)
    loop(calls)
    drop.gate_wait(END)


def child(calls, out):
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    before = keep.now_ns()
    loop(calls)
    os.write(out, b"%d %d\n" % (os.getpid(), keep.now_ns() - before))
    signal.pause()


def fork_children(n, calls):
    """Returns [pid, ns] of each child, all of them alive and done with their calls."""
    reading, writing = os.pipe()
    for _ in range(n):
        if os.fork() == 0:
            child(calls, writing)
    os.close(writing)
    with os.fdopen(reading) as lines:
        return [[int(word) for word in lines.readline().split()] for _ in range(n)]


def run_fork(n, calls):
    # That a thread exists beside the forking one is the point here.
    warnings.simplefilter("ignore", DeprecationWarning)
    threads = [workload.start_thread("parent-loop", gated, calls)]
    workload.never_force()
    drop.gate_watch(START, 1)
    workload.ready()
    workload.expect("go")
    begin = keep.now_ns()
    keep.gate_open(START)
    children = fork_children(n, calls)
    drop.gate_watch(END, 1)
    end = keep.now_ns()
    workload.report(begin, end, [{"tid": t.tid, "name": t.name, "acquires": calls + 1, "forced": 0}
                                 for t in threads], children=children, calls=calls)


def run_exec(argv):
    workload.ready()
    workload.expect("go")
    os.execv(argv[0], argv)


how, rest = sys.argv[1], sys.argv[2:]
if how == "fork":
    run_fork(int(rest[0]) if rest else 2, int(rest[1]) if rest[1:] else 20003)
elif how == "exec-python":
    here = os.path.dirname(os.path.abspath(__file__))
    run_exec([sys.executable, os.path.join(here, rest[0])] + rest[1:])
elif how == "exec-other":
    run_exec(["/bin/sh", "-c", SHELL])
else:
    sys.exit(__doc__)
