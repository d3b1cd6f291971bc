# SPDX-License-Identifier: GPL-2.0-only
"""A workload of tests/workloads, gilscope beside it, and what becomes of both: what checks.py is written with.

Everything waits for what the other side says, asleep: emulated machines are slow, and no time is a limit. PATIENCE only ends
what would never end.
"""
import json
import os
import re
import select
import signal
import struct
import subprocess
import time

HERE = os.path.dirname(os.path.abspath(__file__))
OUTPUT = os.environ.get("GILSCOPE_OUTPUT", "")
GILSCOPE = os.path.join(OUTPUT, "gilscope")
WORKLOADS = os.environ.get("WORKLOADS", os.path.join(HERE, "..", "workloads"))
RESULTS = os.environ.get("RESULTS", "/tmp/results")
PATIENCE = int(os.environ.get("PATIENCE", "900"))


class Failed(Exception):
    """A check has failed; the text says what was expected and what was there."""


def expect(true, text):
    if not true:
        raise Failed(text)


def expect_equal(got, want, what):
    expect(got == want, "%s: %s, not %s" % (what, got, want))


def patiently(done, what):
    """Waits until done() is true and returns that."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        value = done()
        if value:
            return value
        time.sleep(0.1)
    raise Failed("not within %d s: %s" % (PATIENCE, what))


def note_threads(pid):
    """Where each thread of a process is that hangs, in the results."""
    with open(os.path.join(RESULTS, "hangs-%d" % pid), "w") as out:
        for tid in sorted(os.listdir("/proc/%d/task" % pid), key=int):
            for name in ("comm", "status", "syscall", "stack"):
                try:
                    with open("/proc/%d/task/%s/%s" % (pid, tid, name)) as file:
                        out.write("== %s %s\n%s\n" % (tid, name, file.read()))
                except OSError as why:
                    out.write("== %s %s: %s\n" % (tid, name, why))


class Python:
    """An interpreter: its name, and the words that run it."""

    def __init__(self, name, *words):
        self.name, self.words = name, list(words)


class Workload:
    """See workload.py for the talk."""

    def __init__(self, python, script, *words, **environment):
        path = script if os.path.isabs(script) else os.path.join(WORKLOADS, script)
        self.heard = b""
        self.process = subprocess.Popen(
            python.words + [path] + [str(word) for word in words], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            env=dict(os.environ, PYTHONPATH=WORKLOADS, **environment))
        self.pid = int(self.hear().split()[1])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        try:
            self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()

    def say(self, line):
        self.process.stdin.write(line.encode() + b"\n")
        self.process.stdin.flush()

    def hear(self):
        while b"\n" not in self.heard:
            ready, _, _ = select.select([self.process.stdout], [], [], PATIENCE)
            if not ready:
                note_threads(self.process.pid)
                raise Failed("the workload says nothing for %d s: %s" % (PATIENCE, " ".join(self.process.args)))
            more = os.read(self.process.stdout.fileno(), 65536)
            expect(more, "the workload has ended: %s" % " ".join(self.process.args))
            self.heard += more
        line, _, self.heard = self.heard.partition(b"\n")
        return line.decode().strip()

    def go(self):
        self.say("go")

    def truth(self):
        return json.loads(self.hear())


class Gilscope:
    """gilscope with these words. Ends with the block, however that ends; what it said stays in the results."""

    count = 0

    def __init__(self, *words):
        Gilscope.count += 1
        self.words = [str(word) for word in words]
        self.base = os.path.join(RESULTS, "gilscope-%02d-%s" % (Gilscope.count, self.words[0]))
        with open(self.base + ".out", "w") as out, open(self.base + ".err", "w") as err:
            err.write("$ gilscope %s\n" % " ".join(self.words))
            err.flush()
            self.process = subprocess.Popen([GILSCOPE] + self.words, stdin=subprocess.DEVNULL, stdout=out, stderr=err)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def said(self):
        with open(self.base + ".err", errors="replace") as err:
            return err.read()

    def wrote(self):
        with open(self.base + ".out", errors="replace") as out:
            return out.read()

    def failure(self):
        """The end of what it said, without progress."""
        return " ".join((self.said().splitlines() or ["nothing"])[-1].split()) or "nothing"

    def hears(self, text):
        """Waits until it says the text."""
        def there():
            ended = self.process.poll() is not None
            if text in self.said():
                return True
            expect(not ended, "gilscope %s: ended with status %s: %s" % (self.words[0], self.process.poll(), self.failure()))
            return False
        patiently(there, "gilscope %s says %r" % (self.words[0], text))

    def wait(self):
        """Its end must be in good order."""
        try:
            status = self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            raise Failed("gilscope %s does not end" % self.words[0]) from None
        expect(status == 0, "gilscope %s: status %d: %s" % (self.words[0], status, self.failure()))

    def stop(self):
        self.process.send_signal(signal.SIGINT)
        self.wait()

    def lines(self):
        return [json.loads(line) for line in self.wrote().splitlines() if line.startswith("{")]

    def summaries(self):
        """By PID; of the last program that had it."""
        return {line["pid"]: line for line in self.lines() if line["type"] == "summary" and line.get("end") != "exec"}

    def summary(self, pid):
        found = self.summaries()
        expect(pid in found, "process %d has no summary" % pid)
        return found[pid]


def run(*words):
    """Runs it to its end; what it wrote."""
    with Gilscope(*words) as gilscope:
        gilscope.wait()
        return gilscope.wrote()


def expect_nothing_lost(summary):
    """Not even event_missed: what the kernel leaves out of one program, from 7.0 on, the next one at the same place sees."""
    expect(not summary["losses"] and summary["process"]["lost"] == 0, "process %d lost %s (%s)" % (
        summary["pid"], summary["process"]["lost"], summary["losses"]))


def expect_threads(summary, threads):
    """Each thread has made exactly the acquires that the program says."""
    seen = {thread["tid"]: thread["n"] for thread in summary["threads"]}
    for thread in threads:
        expect_equal(seen.get(thread["tid"]), thread["acquires"], "acquires of %s" % thread["name"])
    expect_nothing_lost(summary)
    return sum(thread["acquires"] for thread in threads)


class Counted:
    """What libsignalcount counts of a program and all that it starts: each acquire and each release ends in a signal."""

    def __init__(self):
        self.path = "/tmp/counts-%d" % Gilscope.count
        self.environment = {"SIGNALCOUNT_FILE": self.path, "LD_PRELOAD": os.path.join(OUTPUT, "workloads", "libsignalcount.so")}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        os.unlink(self.path)

    def acquires(self, tid):
        """Of a thread that came and went: it begins with one, and they alternate."""
        with open(self.path, "rb") as counts:
            counts.seek(8 * tid)
            return (struct.unpack("Q", counts.read(8))[0] + 1) // 2


def breakpoints(pid):
    """Bytes of the program's code, and of its libraries', that are not those of the file."""
    changed = 0
    with open("/proc/%d/maps" % pid) as maps, open("/proc/%d/mem" % pid, "rb", 0) as memory:
        for line in maps:
            match = re.match(r"([0-9a-f]+)-([0-9a-f]+) r-xp ([0-9a-f]+) \S+ [1-9]", line)
            if not match:
                continue
            begin, end, offset = (int(number, 16) for number in match.groups())
            with open("/proc/%d/map_files/%x-%x" % (pid, begin, end), "rb") as image:
                image.seek(offset)
                in_file = image.read(end - begin)
            memory.seek(begin)
            in_memory = memory.read(end - begin)[:len(in_file)]
            for at in range(0, len(in_file), 4096):
                if in_memory[at:at + 4096] != in_file[at:at + 4096]: # few are: emulated, a look at each byte takes seconds
                    changed += sum(a != b for a, b in zip(in_memory[at:at + 4096], in_file[at:at + 4096]))
    return changed


def expect_no_breakpoints(pid):
    """The kernel may take a moment."""
    patiently(lambda: not breakpoints(pid), "no breakpoint is left in process %d" % pid)
