# SPDX-License-Identifier: GPL-2.0-only
"""usage: subinterp.py N [THREADS]

Sub-interpreters as Python programs make them: each thread has one, isolated and with a GIL of its own, and runs Python
code in it that calls os.read N times. CPython 3.12 and later.

Truth: N + 1 acquires per thread on the GIL of its interpreter between the gates, which are pipes here: a read blocks
without the GIL until there is something to read, and the kernel says who blocks there.
"""
import argparse
import os
import platform
import threading

import workload
from workload import drop, keep

try:
    import _interpreters as api  # 3.13
except ImportError:
    import _xxsubinterpreters as api  # 3.12

parser = argparse.ArgumentParser()
parser.add_argument("n", type=int)
parser.add_argument("threads", type=int, nargs="?", default=2)
args = parser.parse_args()

READ = {"x86_64": "0", "aarch64": "63"}[platform.machine()]

script = """
import os, sys
sys.setswitchinterval(1000)
zero = os.open("/dev/zero", os.O_RDONLY)
os.read({start}, 1)
for _ in range({n}):
    os.read(zero, 1)
os.read({end}, 1)
"""


start_read, start_write = os.pipe()
end_read, end_write = os.pipe()
code = script.format(n=args.n, start=start_read, end=end_read)
truth = []


def body():
    number = api.create()
    truth.append({"tid": threading.get_native_id(), "interp": int(number), "gil": int(number), "name": "sub",
                  "acquires": args.n + 1})
    api.run_string(number, code)


def blocks_in_read(tid, fd):
    with open("/proc/self/task/%d/syscall" % tid) as file:
        words = file.read().split()
    return len(words) > 1 and words[:2] == [READ, hex(fd)]


def gather(fd):
    while sum(blocks_in_read(t["tid"], fd) for t in truth) < args.threads:
        drop.nap(1000000)


for i in range(args.threads):
    workload.start_thread("sub-%d" % i, body)
gather(start_read)
workload.ready()
workload.expect("go")
begin = keep.now_ns()
os.write(start_write, b"." * args.threads)
gather(end_read)
workload.report(begin, keep.now_ns(), truth)
