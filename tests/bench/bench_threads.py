# SPDX-License-Identifier: GPL-2.0-only
"""usage: bench_threads.py GILSCOPE

Wake-ups a second of programs with 10 to 8,000 threads that each take the GIL once a second, bare and in each mode, in turn in every
round (BENCH_ROUNDS, 3; BENCH_SECONDS of each, 8; BENCH_THREADS, sizes separated by blanks). Each thread counts in memory that this
program shares, so that reading it takes no GIL. The first seconds of an attach belong to it: it is what hurts.

A line says how the rate is to that of the bare program beside it in the same round (median, least, most), how long probes of any kind
were in, what `cov` was, and what was known: takes (n), waits (wait), or neither.
"""
import array
import json
import mmap
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time

TARGET = """
import mmap, os, sys, threading, time
n, fd = int(sys.argv[1]), int(sys.argv[2])
counts = memoryview(mmap.mmap(fd, 8 * n)).cast("Q")
threading.stack_size(256 << 10)
def work(i):
    while True:
        time.sleep(1.0)
        counts[i] += 1
for i in range(n):
    threading.Thread(target=work, args=(i,), daemon=True).start()
    time.sleep(1.0 / n)
os.write(1, b"ready")
time.sleep(3600)
"""

gilscope = sys.argv[1]
rounds = int(os.environ.get("BENCH_ROUNDS", 3))
seconds = float(os.environ.get("BENCH_SECONDS", 8))
sizes = [int(n) for n in os.environ.get("BENCH_THREADS", "10 100 1000 3000 8000").split()]
python = "/usr/bin/python3.11" if os.path.exists("/usr/bin/python3.11") else sys.executable


def as_usual():
    os.setpriority(os.PRIO_PROCESS, 0, 0)


# Who measures and ends programs of thousands of threads must not be one of thousands that want a CPU.
os.setpriority(os.PRIO_PROCESS, 0, -20)


class Target:
    def __init__(self, n):
        self.file = tempfile.TemporaryFile()
        self.file.truncate(8 * n)
        self.memory = mmap.mmap(self.file.fileno(), 8 * n)
        fd = self.file.fileno()
        self.process = subprocess.Popen([python, "-c", TARGET, str(n), str(fd)], pass_fds=[fd],
                                        stdout=subprocess.PIPE, preexec_fn=as_usual)
        assert self.process.stdout.read(5) == b"ready"
        time.sleep(2)

    def wakeups(self):
        return sum(array.array("Q", self.memory[:]))

    def rate(self):
        before, begin = self.wakeups(), time.monotonic()
        time.sleep(seconds)
        return (self.wakeups() - before) / (time.monotonic() - begin)

    def end(self):
        self.process.kill()
        self.process.wait()


def rows_of(text):
    rows = [json.loads(line) for line in text.splitlines()]
    return [row for row in rows if row["type"] == "interval"]


def attached(target, mode):
    """Rate, share of the time with probes in, cov, share of the time in which takes and waits were known."""
    tool = subprocess.Popen([gilscope, "attach", str(target.process.pid), "--no-store", "--json", "--mode", mode],
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=as_usual)
    for line in tool.stderr:
        if "armed" in line:
            break
    rate = target.rate()
    tool.send_signal(signal.SIGINT)
    rows = rows_of(tool.communicate()[0])
    whole = sum(row["process"]["d"] for row in rows) or 1

    def share(of):
        return sum(of(row, row["process"]) for row in rows) / whole

    return (rate, share(lambda row, p: p["d"] * (row["mode"] != "guarded")), share(lambda row, p: p["d"] * p.get("cov", 0)),
            share(lambda row, p: p["d"] * ("n" in p)), share(lambda row, p: p["d"] * ("wait" in p)))


def measure(n):
    bare, seen = [], {mode: [] for mode in ("light", "auto", "full")}
    for _ in range(rounds):
        target = Target(n)
        for mode, results in seen.items():
            bare.append(target.rate())
            got = attached(target, mode)
            results.append((got[0] / bare[-1],) + got[1:])
            time.sleep(3)
        target.end()
    print("%d threads: bare %.0f wake-ups/s" % (n, statistics.median(bare)))
    for mode, results in seen.items():
        ratio, probes, cov, takes, waits = zip(*results)
        print("  %-5s  %.3f of bare [%.3f .. %.3f]  probes in %3.0f %%  cov %.2f  n known %3.0f %%  wait known %3.0f %%" % (
            mode, statistics.median(ratio), min(ratio), max(ratio), 100 * statistics.median(probes), statistics.median(cov),
            100 * statistics.median(takes), 100 * statistics.median(waits)), flush=True)


for size in sizes:
    measure(size)
