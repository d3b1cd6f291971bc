# SPDX-License-Identifier: GPL-2.0-only
"""usage: peers.py PEERS     environment: OUTPUT, SECONDS (12), RATE_SECONDS (3), ROUNDS (3)

gilscope beside other tools, on the same windows and the same truth. PEERS is a directory with what the Python package
registry gave.

Which code: workloads/shares.py, whose functions clock themselves, with others that wait. A tool's error is that of its
worst function, in points of all that the thread held; beside it the standard error that so many samples have at that share.
What it costs: wake-ups a second of sixteen threads, with the tool and bare in turn, the median of the rounds; and the CPU
time of the tool itself. What a tool can't tell is a dash. A tool that isn't there is named with the reason. Lines are those
of a table in Markdown.
"""
import json
import mmap
import os
import re
import resource
import signal
import statistics
import struct
import subprocess
import sys
import tempfile
import time

here = os.path.dirname(os.path.abspath(__file__))
workloads = os.path.join(here, "..", "workloads")
output = os.path.abspath(os.environ["OUTPUT"])
gilscope, spy = os.path.join(output, "gilscope"), os.path.join(sys.argv[1], "bin", "py-spy")
seconds, rate_seconds = float(os.environ.get("SECONDS", 12)), float(os.environ.get("RATE_SECONDS", 3))
rounds = int(os.environ.get("ROUNDS", 3))
python = "/usr/bin/python3"
LETS_GO = "lets_go"
NAMES = r"(c|python|asleep)_|lets_go$|count_up$" # of that program's functions
BYTECODE = ("python_short", "python_long", "count_up") # all of it is spent in count_up, which some tools alone name

THREADS = """
import mmap, sys, threading, time
counts = memoryview(mmap.mmap(int(sys.argv[1]), 128)).cast("Q")
def deep(i, n):
    if n:
        return deep(i, n - 1)
    time.sleep(0.001)
    counts[i] += 1
def work(i):
    while True:
        deep(i, 25)
for i in range(16):
    threading.Thread(target=work, args=(i,), daemon=True).start()
print("ready", flush=True)
time.sleep(3600)
"""


# ---- tools: the command for a process, and how its file is read: {function: share of the thread "worker"}, samples -------

def hold_of(row):
    """Exact, or light mode's estimate."""
    return row.get("hold", row.get("hold_est", 0))


def read_gilscope(path):
    with open(path) as file:
        summary = next(line for line in map(json.loads, file) if line["type"] == "summary")
    thread = next(t for t in summary["threads"] if t["name"] == "worker")
    rows = [r for r in summary["code"] if r["name"] == "worker" and hold_of(r)]
    held = {}
    for row in rows:
        held[row["function"]] = held.get(row["function"], 0) + hold_of(row)
    return held, hold_of(thread), sum(r.get("ticks", 0) for r in rows)


def read_spy(path):
    """py-spy's own "raw" format: frames from the outermost on, then how many samples. C functions are among them, or not."""
    held = {}
    with open(path) as file:
        for line in file:
            frames, count = line.rsplit(" ", 1)
            names = [re.sub(r" \(.*", "", frame) for frame in frames.split(";")]
            if "work" in names:
                inner = next((n for n in reversed(names) if re.match(NAMES, n)), names[-1])
                held[inner] = held.get(inner, 0) + int(count)
    return held, None, sum(held.values())


def with_gilscope(mode):
    return lambda pid, path: [gilscope, "attach", str(pid), "--json", "--no-store", "--mode", mode, "-o", path]


def with_spy(rate, *words):
    return lambda pid, path: [spy, "record", "--gil", "--threads", "--format", "raw", "--rate", str(rate), "--pid", str(pid),
                              "--output", path, "--duration", "600"] + list(words)


TOOLS = [
    ("gilscope full", with_gilscope("full"), read_gilscope),
    ("gilscope light", with_gilscope("light"), read_gilscope),
    ("py-spy 100/s", with_spy(100), read_spy),
    ("py-spy 100/s, nonblocking", with_spy(100, "--nonblocking"), read_spy),
    ("py-spy 1000/s, nonblocking", with_spy(1000, "--nonblocking"), read_spy),
    ("py-spy 100/s, native", with_spy(100, "--native"), read_spy),
]

NOT_RUN = [
    ("austin", "it does not know the GIL"),
    ("gilknocker", "the target has to import it, and it tells one number of the process"),
    ("profiling.sampling", "it needs a target of its own version, 3.15"),
]


def start(tool, pid, path):
    process = subprocess.Popen(tool[1](pid, path), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(1.5) # all of them are at work by then
    return process


def stop(process):
    """CPU seconds that it took."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    process.send_signal(signal.SIGINT)
    process.wait(60)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


# ---- which code ------------------------------------------------------------------------------------------------------------

def merged(shares):
    """Functions and their time, bytecode as one."""
    result = {}
    for name, time_of in shares.items():
        name = "bytecode" if name in BYTECODE else name
        result[name] = result.get(name, 0) + time_of
    return result


def judge_code(tool, folder):
    path = os.path.join(folder, "shares")
    program = subprocess.Popen([python, os.path.join(workloads, "shares.py"), str(seconds), "3"], stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE, universal_newlines=True, env=dict(os.environ, GILSCOPE_OUTPUT=output))
    try:
        pid = int(program.stdout.readline().split()[1])
        process = start(tool, pid, path)
        program.stdin.write("go\n")
        program.stdin.flush()
        truth = json.loads(program.stdout.readline())
        stop(process)
    finally:
        program.kill()
        program.wait()
    held, hold, samples = tool[2](path)
    held, right = merged(held), merged(truth["spent_ns"])
    all_held, all_right = sum(held.values()), sum(right.values())
    if not all_held:
        return "-", "-", "-"
    errors = {name: 100 * (held.get(name, 0) / all_held - spent / all_right) for name, spent in right.items()}
    worst = max(errors, key=lambda name: abs(errors[name]))
    share = right[worst] / all_right
    chance = 100 * (share * (1 - share) / samples) ** 0.5 if samples else float("nan")
    told = "-" if not hold else "%+.1f %%" % (100 * (1000 * hold / all_right - 1))
    return "%.1f ± %.1f" % (abs(errors[worst]), chance), "%.1f %%" % (100 * held.get(LETS_GO, 0) / all_held), told


# ---- what it costs ---------------------------------------------------------------------------------------------------------

class Threads:
    def __init__(self):
        self.file = tempfile.TemporaryFile()
        self.file.truncate(128)
        self.memory = mmap.mmap(self.file.fileno(), 128)
        fd = self.file.fileno()
        self.process = subprocess.Popen([python, "-c", THREADS, str(fd)], pass_fds=[fd], stdout=subprocess.PIPE)
        self.process.stdout.readline()
        time.sleep(0.5)

    def rate(self):
        def count():
            return sum(struct.unpack("16Q", self.memory[:]))
        before, begin = count(), time.monotonic()
        time.sleep(rate_seconds)
        return (count() - before) / (time.monotonic() - begin)

    def end(self):
        self.process.kill()
        self.process.wait()


def judge_cost(tool, folder):
    ratios, costs = [], []
    for _ in range(rounds):
        threads = Threads()
        try:
            bare, begin = threads.rate(), time.monotonic()
            process = start(tool, threads.process.pid, os.path.join(folder, "cost"))
            rate = threads.rate()
            costs.append(stop(process) / (time.monotonic() - begin))
            ratios.append(rate / ((bare + threads.rate()) / 2))
        finally:
            threads.end()
    return ("%.2f (%.2f to %.2f)" % (statistics.median(ratios), min(ratios), max(ratios)),
            "%.0f %%" % (100 * statistics.median(costs)))


def main():
    print("| tool | code: worst error, points | time on lines that only let go | hold | rate of the target | CPU of the tool |")
    print("|---|---|---|---|---|---|")
    for tool in TOOLS:
        if not os.path.exists(tool[1](0, "")[0]):
            print("| %s | not installed: the registry did not give it |  |  |  |  |" % tool[0])
            continue
        with tempfile.TemporaryDirectory() as folder:
            print("| %s | %s |" % (tool[0], " | ".join(judge_code(tool, folder) + judge_cost(tool, folder))), flush=True)
    for name, why in NOT_RUN:
        print("| %s | not run: %s |  |  |  |  |" % (name, why))


sys.exit(main())
