# SPDX-License-Identifier: GPL-2.0-only
"""usage: last_words.py N STEP_MS OFFSET_MS

Does all its work at its very end: waits for the wall clock to be OFFSET_MS past a multiple of STEP_MS, then the
thread `last` makes N pairs of release and acquire in C, and the program is gone.

Truth: `last` has taken the GIL N + 1 times, the first time as it started.
"""
import os
import sys
import time

import workload
from workload import keep

n, step_ms, offset_ms = (int(arg) for arg in sys.argv[1:])


def body():
    now_ms = time.time() * 1000
    end = now_ms - now_ms % step_ms + step_ms + offset_ms
    while time.time() * 1000 < end:
        pass
    keep.cycle_ns(n)
    os._exit(0)


workload.never_force()
workload.start_thread("last", body)
time.sleep(60)
