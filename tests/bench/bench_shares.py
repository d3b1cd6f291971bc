# SPDX-License-Identifier: GPL-2.0-only
"""usage: bench_shares.py GILSCOPE

How well time is given to the code that spent it, and what that costs.

Shares: functions that clock themselves (tests/workloads/shares.py) against what `attach --json` tells of each, in full and light mode,
alone and with three threads that wait (BENCH_RUNS of each, 3; BENCH_SECONDS, 12; the goal is meant for 20 runs). The goal: a place
of 2 % and more lies within three of its standard errors, and within a point, in 95 % of the cases; a line that only lets go has less
than 0.5 %.

Price: what a tick costs at depths of 5, 25 and 150 frames, by gilscope's own clock (the trap is reckoned with 1 us); and the rate
of 8 threads of os.read(), by their CPU time, in each mode to that of the bare program beside it.
"""
import json
import mmap
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time

gilscope = sys.argv[1]
runs = int(os.environ.get("BENCH_RUNS", 3))
seconds = float(os.environ.get("BENCH_SECONDS", 12))
python = "/usr/bin/python3.11" if os.path.exists("/usr/bin/python3.11") else sys.executable
workloads = os.path.join(os.path.dirname(os.path.abspath(__file__)), os.pardir, "workloads")
MODES = ("full", "light")

FRAMES = """
import sys, time
sys.setrecursionlimit(10000)
def deeper(n):
    if n:
        return deeper(n - 1)
    print("ready", flush=True)
    while True:
        for _ in range(300000):
            pass
        time.sleep(0)
deeper(int(sys.argv[1]))
"""

READERS = """
import mmap, os, sys, threading
counts = memoryview(mmap.mmap(int(sys.argv[1]), 64)).cast("Q")
zero = os.open("/dev/zero", os.O_RDONLY)
def work(i):
    while True:
        for _ in range(100):
            os.read(zero, 1)
        counts[i] += 100
for i in range(8):
    threading.Thread(target=work, args=(i,), daemon=True).start()
print("ready", flush=True)
threading.Event().wait()
"""


class Observer:
    """gilscope attached. Its rows go to a file: in a pipe that nobody reads it would come to stand still, and lift its probes."""

    def __init__(self, pid, mode):
        self.rows = tempfile.TemporaryFile("w+")
        self.tool = subprocess.Popen([gilscope, "attach", str(pid), "--no-store", "--json", "--mode", mode], stdout=self.rows,
                                     stderr=subprocess.PIPE, text=True)
        if not any("armed" in line for line in self.tool.stderr):
            sys.exit("bench_shares: gilscope could not attach to process %d" % pid)

    def end(self):
        """The summary. What was not observed is told: shares of what was are no shares of all."""
        self.tool.send_signal(signal.SIGINT)
        self.tool.communicate()
        self.rows.seek(0)
        told = json.loads(self.rows.readlines()[-1])
        if told["process"]["cov"] < 0.99 or told["process"]["lost"]:
            print("       observed: %.3f of the time, %d losses" % (told["process"]["cov"], told["process"]["lost"]), flush=True)
        return told


def start(program, *args, **kwargs):
    target = subprocess.Popen([python, "-c", program, *args], stdout=subprocess.PIPE, text=True, **kwargs)
    assert target.stdout.readline() == "ready\n"
    return target


def kill(target):
    target.kill()
    target.wait()


# ---- shares ----

class Shares:
    """What became of the places of some runs."""

    def __init__(self):
        self.places = self.in_error = self.in_point = 0
        self.outside = []
        self.worst, self.lets_go, self.totals = (0, ""), [], []

    def add(self, name, true, told, error):
        self.places += 1
        self.in_error += abs(told - true) <= 3 * error
        if abs(told - true) > 3 * error:
            self.outside.append("%s %+.2f of %.2f, error %.2f" % (name, 100 * (told - true), 100 * true, 100 * error))
        self.in_point += abs(told - true) <= 0.01
        self.worst = max(self.worst, (abs(told - true), name))


def clocked(waiters, mode):
    """The program's own clocks, and the summary."""
    target = subprocess.Popen([python, os.path.join(workloads, "shares.py"), str(seconds), str(waiters), "--shuffle"],
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    tool = Observer(int(target.stdout.readline().split()[1]), mode)
    print("go", file=target.stdin, flush=True)
    truth = json.loads(target.stdout.readline())["spent_ns"]
    told = tool.end()
    target.stdin.close()
    target.wait()
    truth["count_up"] = truth.pop("python_short") + truth.pop("python_long")  # the innermost frame of both
    return truth, told


def compare(result, truth, told):
    rows = [row for row in told["code"] if row["name"] == "worker"]
    held = {}
    for row in rows:
        time_us, var = held.get(row["function"], (0, 0))
        held[row["function"]] = (time_us + row.get("hold", row.get("hold_est", 0)), var + row.get("error", 0) ** 2)
    all_true = sum(truth.values())  # between its functions the thread holds, too: what is told of those is not divided by more
    for name, spent in truth.items():
        time_us, var = held.get(name, (0, 0))
        if spent >= 0.02 * all_true:
            result.add(name, spent / all_true, 1e3 * time_us / all_true, 1e3 * var ** 0.5 / all_true)
    result.lets_go.append(1e3 * held.get("lets_go", (0, 0))[0] / all_true)
    worker = [row for row in told["threads"] if row["name"] == "worker"][0]
    result.totals.append(worker.get("hold", worker.get("hold_est", 0)) * 1e3 / all_true)


def measure_shares(waiters, mode):
    result = Shares()
    for _ in range(runs):
        compare(result, *clocked(waiters, mode))
    print("%-5s  %d waiters: %d of %d places within 3 errors, %d within a point; worst %.2f points (%s); lets_go at most %.2f %%; "
          "hold told / true %.4f .. %.4f" % (
              mode, waiters, result.in_error, result.places, result.in_point, 100 * result.worst[0], result.worst[1],
              100 * max(result.lets_go), min(result.totals), max(result.totals)), flush=True)
    for place in result.outside:
        print("       outside: %s" % place, flush=True)


# ---- price ----

def measure_price(depth):
    target = start(FRAMES, str(depth))
    for mode in MODES:
        tool = Observer(target.pid, mode)
        time.sleep(4)
        told = tool.end()
        ticks = sum(row.get("ticks", 0) for row in told["code"])
        print("%-5s  depth %3d: %.1f us a tick (%d ticks)" % (mode, depth, told["process"]["cost"] / max(ticks, 1), ticks),
              flush=True)
    kill(target)


def measure_readers():
    file = tempfile.TemporaryFile()
    file.truncate(64)
    counts = memoryview(mmap.mmap(file.fileno(), 64)).cast("Q")
    target = start(READERS, str(file.fileno()), pass_fds=[file.fileno()])

    def cpu():
        with open("/proc/%d/stat" % target.pid) as stat:
            return sum(map(int, stat.read().rsplit(")", 1)[1].split()[11:13])) / os.sysconf("SC_CLK_TCK")

    def rate():
        """Of the program's own CPU time: whoever else is busy on the machine changes little."""
        before, begin = sum(counts), cpu()
        time.sleep(4)
        return (sum(counts) - before) / (cpu() - begin)

    bare, ratios = [], {mode: [] for mode in MODES}
    for _ in range(max(runs, 3)):
        for mode in MODES:
            bare.append(rate())
            tool = Observer(target.pid, mode)
            ratios[mode].append(rate() / bare[-1])
            tool.end()
    for mode in MODES:
        print("%-5s  8 threads of os.read: %.3f of bare [%.3f .. %.3f], which is %.0f reads a second of CPU time" % (
            mode, statistics.median(ratios[mode]), min(ratios[mode]), max(ratios[mode]), statistics.median(bare)), flush=True)
    kill(target)


for number in (0, 3):
    for how in MODES:
        measure_shares(number, how)
for frames in (5, 25, 150):
    measure_price(frames)
measure_readers()
