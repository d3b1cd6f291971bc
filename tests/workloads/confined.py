# SPDX-License-Identifier: GPL-2.0-only
"""usage: confined.py N

A thread in strict seccomp mode: any system call but read, write, exit and sigreturn would kill the process. It makes N
releases of the GIL; truth: N + 1 acquires from its start gate on. It says that it is through by a byte in a pipe.
"""
import os
import sys

import workload
from workload import START, drop, keep

n = int(sys.argv[1])
through, writes = os.pipe()
never, _ = os.pipe()

workload.never_force()
thread = workload.start_thread("confined", keep.confined_cycle, START, n, writes, never)
drop.gate_watch(START, 1)
workload.ready()
workload.expect("go")
begin = keep.now_ns()
keep.gate_open(START)
os.read(through, 1)
workload.report(begin, keep.now_ns(), [{"tid": thread.tid, "name": "confined", "acquires": n + 1, "forced": 0}])
