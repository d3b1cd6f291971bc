# SPDX-License-Identifier: GPL-2.0-only
"""usage: elsewhere.py SECONDS

Two threads compute in C code that has released the GIL: they derive keys, a tenth of a second and more each.

Truth: CPU time of each thread between the gates.
"""
import hashlib
import sys
import time

import workload
from workload import END, START, drop

seconds = float(sys.argv[1])
cpu = {}


def compute():
    drop.gate_wait(START)
    before, end = time.thread_time_ns(), time.monotonic() + seconds
    while time.monotonic() < end:
        hashlib.pbkdf2_hmac("sha256", b"password", b"salt", 300000)
    cpu[workload.keep.thread_id()] = time.thread_time_ns() - before
    drop.gate_wait(END)


threads = [workload.start_thread("keys-%d" % i, compute) for i in range(2)]
begin, end = workload.run_gated(len(threads))
workload.report(begin, end, [{"tid": t.tid, "name": t.name, "cpu_ns": cpu[t.tid]} for t in threads])
