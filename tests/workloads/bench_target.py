# SPDX-License-Identifier: GPL-2.0-only
"""usage: bench_target.py

Measures on demand, so that a benchmark can change the probes between two rounds of one process. Says
`ready PID`, then answers each line with one number:

    pair N        ns per uncontended release and acquire, over N pairs in C
    read T MS     calls of os.read per second of T threads that do nothing else, for MS milliseconds
    cpu T MS      loop turns per second of T threads in pure Python, for MS milliseconds
    stall MS      longest gap in ns that a thread reading the clock all the while saw in MS milliseconds
    quit
"""
import os
import sys
import threading
import time

import workload
from workload import keep

zero = os.open("/dev/zero", os.O_RDONLY)


def reader(end):
    n = 0
    while time.monotonic() < end:
        for _ in range(20):
            os.read(zero, 1)
        n += 20
    return n


def spinner(end):
    n = 0
    while time.monotonic() < end:
        for _ in range(1000):
            pass
        n += 1000
    return n


def rate(body, threads, ms):
    done = []
    end = time.monotonic() + ms / 1000
    workers = [threading.Thread(target=lambda: done.append(body(end))) for _ in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return sum(done) * 1000 / ms


def stall(ms):
    last = begin = time.perf_counter_ns()
    longest = 0
    while last - begin < ms * 1000000:
        now = time.perf_counter_ns()
        if now - last > longest:
            longest = now - last
        last = now
    return longest


workload.ready()
for line in sys.stdin:
    words = line.split()
    if words[0] == "pair":
        print(keep.cycle_ns(int(words[1])) / int(words[1]), flush=True)
    elif words[0] == "read":
        print(rate(reader, int(words[1]), int(words[2])), flush=True)
    elif words[0] == "cpu":
        print(rate(spinner, int(words[1]), int(words[2])), flush=True)
    elif words[0] == "stall":
        print(stall(int(words[1])), flush=True)
    else:
        break
