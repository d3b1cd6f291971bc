# SPDX-License-Identifier: GPL-2.0-only
"""usage: condvar_idle.py SECONDS [--idlers N] [--pollers N] [--contenders N]
                            [--switch-interval S]

Native threads wait on condition variables of their own, which are none of the GIL's business: idlers for
100 ms at a time, pollers for 1 ms. With --contenders, as many Python threads compete for the GIL beside
them; without, nobody does, and the main thread is the only one that ever takes it.

Truth: the native threads' ids, how often they waited, and that they acquired the GIL 0 times.
"""
import argparse
import ctypes
import sys
import time

import workload
from workload import END, START, drop, keep

parser = argparse.ArgumentParser()
parser.add_argument("seconds", type=float)
parser.add_argument("--idlers", type=int, default=4)
parser.add_argument("--pollers", type=int, default=0)
parser.add_argument("--contenders", type=int, default=0)
parser.add_argument("--switch-interval", type=float)
args = parser.parse_args()


def compute():
    drop.gate_wait(START)
    end = time.monotonic() + args.seconds
    while time.monotonic() < end:
        sum(range(1000))
    drop.gate_wait(END)


def native(n, period_ns):
    tids = (ctypes.c_int * n)()
    if keep.idlers_start(n, period_ns, tids):
        raise OSError("no native threads")
    return list(tids)


if args.switch_interval:
    sys.setswitchinterval(args.switch_interval)
threads = [workload.start_thread("contender-%d" % i, compute) for i in range(args.contenders)]
drop.gate_watch(START, args.contenders)
idlers = native(args.idlers, 100 * 10**6)
pollers = native(args.pollers, 10**6)
workload.ready()
workload.expect("go")
begin = keep.now_ns()
keep.gate_open(START)
drop.nap(int(args.seconds * 1e9))
drop.gate_watch(END, args.contenders)
end = keep.now_ns()
waits = drop.idlers_stop()
workload.report(begin, end, [{"tid": t.tid, "name": t.name} for t in threads]
                + [{"tid": tid, "name": "native", "acquires": 0} for tid in idlers + pollers],
                native_waits=waits)
