# SPDX-License-Identifier: GPL-2.0-only
"""usage: bench_target.py

Measures on demand, so that a benchmark can change the probes between two rounds of one process. Says
`ready PID`, then answers each line with one number (or three):

    pair N        ns per uncontended release and acquire, over N pairs in C, of some batches the best
    yield N       of two threads on one CPU, each of which finds the GIL taken at its N acquires and lets go of it by itself
    force N       of two threads on one CPU, each in N turns of a loop in Python, that force each other out
                  CPU time and time by the clock in ns, times that a thread blocked: each per acquire, `force` without what
                  the turns take where nobody asks for the GIL
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
from workload import drop, keep

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


NEVER, SOON = 1000, 50e-6  # switch intervals; one that is over before its waiter sleeps would never let the holder run
BATCHES = 10  # other CPUs' work is felt in all of a batch, but seldom in all batches
STACK_FRAMES = 20  # of each thread of a contest: a web service has more, a pool's worker less


def deep(frames, body, *args):
    if frames:
        deep(frames - 1, body, *args)
    else:
        body(*args)


def pair_ns(n):
    done = []

    def clock():
        keep.share_one_cpu()
        done.append(min(keep.cycle_ns(n // BATCHES) for _ in range(BATCHES)) / (n // BATCHES))

    worker = threading.Thread(target=clock)
    worker.start()
    worker.join()
    return done[0]


def turns(me, n):
    turn = keep.contest_turn
    for _ in range(n):
        turn(me)


def contest(switch_interval, body):
    """Two threads, each of which calls body(1 or 2), until both have returned."""
    truth = workload.ContestTruth()

    def take_part(me):
        keep.contest_begin()
        body(me)
        keep.contest_end(truth)

    usual = sys.getswitchinterval()
    keep.contest_prepare()
    workers = [threading.Thread(target=deep, args=(STACK_FRAMES, take_part, me)) for me in (1, 2)]
    for worker in workers:
        worker.start()
    drop.gate_watch(workload.START, 2)
    sys.setswitchinterval(switch_interval)
    keep.gate_open(workload.START)  # with the GIL: nobody but the two takes it from here on
    for worker in workers:
        worker.join()
    sys.setswitchinterval(usual)
    return truth


def per_acquire(truth, cpu_ns=0, wall_ns=0):
    return "%f %f %f" % ((truth.cpu_ns - cpu_ns) / truth.acquires, (truth.wall_ns - wall_ns) / truth.acquires,
                         truth.blocked / truth.acquires)


def letting_go(n):
    return per_acquire(contest(NEVER, lambda me: keep.contest_yielding(n)))


def forcing_out(n):
    alone = contest(NEVER, lambda me: turns(me, n))
    return per_acquire(contest(SOON, lambda me: turns(me, n)), alone.cpu_ns, alone.wall_ns)


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
        print(pair_ns(int(words[1])), flush=True)
    elif words[0] == "yield":
        print(letting_go(int(words[1])), flush=True)
    elif words[0] == "force":
        print(forcing_out(int(words[1])), flush=True)
    elif words[0] == "read":
        print(rate(reader, int(words[1]), int(words[2])), flush=True)
    elif words[0] == "cpu":
        print(rate(spinner, int(words[1]), int(words[2])), flush=True)
    elif words[0] == "stall":
        print(stall(int(words[1])), flush=True)
    else:
        break
