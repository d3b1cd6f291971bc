# SPDX-License-Identifier: GPL-2.0-only
"""usage: pools.py POOLS [CALLS]

POOLS multiprocessing pools, one after the other, each of three forked processes that run twelve tasks of CALLS os.read calls,
which release the GIL once each. The processes of a pool end before the next one begins.

Truth: `pools`, for each a list of [pid, calls] of its processes.
"""
import multiprocessing
import os
import sys
import time

import workload
from workload import keep

PROCESSES, TASKS = 3, 12


def task(calls):
    with open("/dev/zero", "rb", 0) as zero:
        fd = zero.fileno()
        for _ in range(calls):
            os.read(fd, 1)
    time.sleep(.02) # another process's turn
    return os.getpid(), calls


def run_pool(calls):
    context = multiprocessing.get_context("fork")
    made = {}
    with context.Pool(PROCESSES) as pool:
        pids = [process.pid for process in multiprocessing.active_children()]
        for pid, n in pool.imap_unordered(task, [calls] * TASKS):
            made[pid] = made.get(pid, 0) + n
        pool.close()
        pool.join()
    return [[pid, made.get(pid, 0)] for pid in pids]


if __name__ == "__main__":
    workload.ready()
    workload.expect("go")
    begin = keep.now_ns()
    pools = [run_pool(int(sys.argv[2]) if len(sys.argv) > 2 else 500) for _ in range(int(sys.argv[1]))]
    workload.report(begin, keep.now_ns(), [], pools=pools)
