# SPDX-License-Identifier: GPL-2.0-only
"""usage: usage.py MIB CPU_SECONDS

From `go` on it takes MIB of memory, for good, and computes until CPU_SECONDS of CPU time are spent. Then it sleeps, and
each line `usage` is answered with what it has used by then.

Truth: its own getrusage() and /proc/self/statm: before `ready`, at `go`, and when it is done.
"""
import json
import os
import resource
import sys

import workload


def usage():
    used = resource.getrusage(resource.RUSAGE_SELF)
    with open("/proc/self/statm") as statm:
        pages = int(statm.read().split()[1])
    return {"cpu_ns": int((used.ru_utime + used.ru_stime) * 1e9),
            "rss_kib": pages * (resource.getpagesize() // 1024)}


def cpu_ns():
    return usage()["cpu_ns"]


before = usage()
workload.ready()
workload.expect("go")
begin = usage()
memory = bytearray(os.urandom(1 << 20)) * int(sys.argv[1])
end_ns = begin["cpu_ns"] + int(float(sys.argv[2]) * 1e9)
while cpu_ns() < end_ns:
    sum(range(10000))
workload.say(json.dumps({"before": before, "begin": begin, "end": usage(), "bytes": len(memory)}))
while sys.stdin.readline().strip() == "usage":
    workload.say(json.dumps(usage()))
workload.leave()
