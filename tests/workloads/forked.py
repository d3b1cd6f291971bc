# SPDX-License-Identifier: GPL-2.0-only
"""usage: forked.py [CHILDREN] [CALLS]

Without a talk, for `run`: forks children that release the GIL CALLS times each, waits for them, exits with status 7. A child
acquires it after the fork and once after each call. CALLS may be a time, "5s": a call each millisecond for that long.
"""
import os
import sys
import time

from workload import drop


def release(calls):
    if not calls.endswith("s"):
        for _ in range(int(calls)):
            drop.noop()
        return
    end = time.monotonic() + float(calls[:-1])
    while time.monotonic() < end:
        drop.noop()
        time.sleep(0.001)


for _ in range(int(sys.argv[1])):
    if os.fork() == 0:
        release(sys.argv[2])
        os._exit(0)
while True:
    try:
        os.wait()
    except ChildProcessError:
        break
sys.exit(7)
