# SPDX-License-Identifier: GPL-2.0-only
"""usage: cpu_threads.py THREADS SECONDS [--odd-names]

THREADS threads compute in pure Python, so that one has the GIL and the others queue. With --odd-names they are called what
would be markup, or run wild, on a page that does not know better.

Truth: CPU time of each thread between the gates (what it computed, it computed holding the GIL), how long it had no CPU
(delay_ns, since it began), and the span. Acquires are not known: the interpreter forces the threads out when it sees fit.
"""
import sys
import time

import workload
from workload import END, START, drop

threads_n, seconds = int(sys.argv[1]), float(sys.argv[2])
cpu = {}
ODD = ["<script>document.title='struck'</script>", "\"><img src=x onerror=document.title='struck'>", "]]></style>&lt;b&gt;",
       "right\u202eleft", "w" * 300, "\U0001f40d snake", "a;b|c", "two\nlines\tand a tab"]


def compute():
    drop.gate_wait(START)
    cpu_before, end = time.thread_time_ns(), time.monotonic() + seconds
    x = 0
    while time.monotonic() < end:
        for i in range(1000):
            x += i * i
    cpu[workload.keep.thread_id()] = time.thread_time_ns() - cpu_before
    drop.gate_wait(END)


def name(i):
    return ODD[i % len(ODD)] if "--odd-names" in sys.argv else "cpu-%d" % i


threads = [workload.start_thread(name(i), compute) for i in range(threads_n)]
begin, end = workload.run_gated(threads_n)
workload.report(begin, end, [{"tid": t.tid, "name": t.name, "cpu_ns": cpu[t.tid], "delay_ns": workload.run_delay_ns(t.tid)}
                             for t in threads])
