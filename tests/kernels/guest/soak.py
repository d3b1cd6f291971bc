# SPDX-License-Identifier: GPL-2.0-only
"""usage: soak.py [NAME...]

What `make test-kernels-soak` asks of a kernel: one gilscope observes a service (rounds.py) for a long time, while others come to it
and go, by SIGINT or by SIGKILL. Nobody's acquires may be missing without being counted as lost, and neither the kernel nor gilscope
may grow. What it writes: judging.py; besides, soak.tsv in the results has a line of measurements per round, descriptors.tsv what is
open, and smaps.tsv the memory of each process by kind. Environment: SOAK_MINUTES (30).
"""
import collections
import functools
import glob
import json
import operator
import os
import re
import subprocess
import sys
import time

import observe
from judging import check, main, read, the_kernel_has_no_complaint
from observe import Counted, Gilscope, Python, Workload, expect, expect_no_breakpoints, patiently, run

STOCK = Python("python3", "/usr/bin/python3")
MINUTES = float(os.environ.get("SOAK_MINUTES", "30"))
MEASURED = [] # a dict per round
DESCRIPTORS = [] # those of gilscope at its end
# A round is ten processes and fifty threads. Whoever forgets one of them altogether keeps more than this.
KERNEL_KB_PER_ROUND, RSS_KB_PER_ROUND = 32, 8
# gilscope has that many places for processes, allocated at its start and taken in turn: each is resident from its first use on.
PLACES, PLACE_KB = 1024, 2


# ---- what may not grow --------------------------------------------------------------------------------------

def bpftool(*words):
    shown = subprocess.run(["bpftool", "--json"] + list(words), capture_output=True, text=True, check=True).stdout
    return json.loads(shown or "[]")


def objects():
    """How many there are in the kernel, by kind; tables of a process that ends go a while after it."""
    return {kind: len(bpftool(kind, "show")) for kind in ("prog", "map", "link")}


def family(pid):
    """The process and what descends from it."""
    parents = {}
    for path in glob.glob("/proc/[0-9]*/stat"):
        fields = read(path).rpartition(")")[2].split()
        if fields:
            parents.setdefault(int(fields[1]), []).append(int(path.split("/")[2]))
    found = [pid]
    for one in found:
        found += parents.get(one, [])
    return found


def rss_kb(pids):
    return sum(int(line.split()[1]) for pid in pids for line in read("/proc/%d/status" % pid).splitlines()
               if line.startswith("VmRSS:"))


def descriptors(pids):
    """What each open descriptor leads to, how often: "gilscope: anon_inode:bpf-map"; without what tells one of a kind from the next."""
    found = collections.Counter()
    for pid in pids:
        name = read("/proc/%d/comm" % pid)
        for fd in os.listdir("/proc/%d/fd" % pid):
            try:
                to = os.readlink("/proc/%d/fd/%s" % (pid, fd))
            except OSError:
                continue # closed meanwhile
            found["%s: %s" % (name, re.sub(r"[0-9]+", "N", to))] += 1
    return found


def note_descriptors(found):
    """Those of each round, in the results."""
    DESCRIPTORS.append(found)
    with open(os.path.join(observe.RESULTS, "descriptors.tsv"), "a") as out:
        for name, n in sorted(found.items()):
            out.write("%d\t%d\t%s\n" % (len(DESCRIPTORS), n, name))


def note_memory(pids):
    """What of each process's memory is resident, by what is mapped, in the results."""
    with open(os.path.join(observe.RESULTS, "smaps.tsv"), "a") as out:
        for pid in pids:
            kinds, name = collections.Counter(), ""
            for line in read("/proc/%d/smaps" % pid).splitlines():
                head = re.match(r"[0-9a-f]+-[0-9a-f]+ \S+ \S+ \S+ \S+ *(.*)", line)
                if head:
                    name = head[1] or "anonymous"
                elif line.startswith("Rss:"):
                    kinds[name] += int(line.split()[1])
            for name, kb in sorted(kinds.items()):
                out.write("%d\t%d %s\t%d\t%s\n" % (len(DESCRIPTORS), pid, read("/proc/%d/comm" % pid), kb, name))


def kernel_kb():
    """Memory of the kernel's own that nobody can take back."""
    os.sync()
    with open("/proc/sys/vm/drop_caches", "w") as caches:
        caches.write("3\n")
    fields = dict(line.split(":") for line in read("/proc/meminfo").splitlines())
    return sum(int(fields[name].split()[0]) for name in ("SUnreclaim", "Percpu", "KernelStack", "PageTables"))


def measure(gilscope, begin, processes):
    pids = family(gilscope.process.pid)
    note_descriptors(descriptors(pids))
    note_memory(pids)
    MEASURED.append(dict(objects(), seconds=round(time.monotonic() - begin), kernel_kb=kernel_kb(), rss_kb=rss_kb(pids),
                         descriptors=sum(DESCRIPTORS[-1].values()), processes=len(pids), places=min(PLACES, processes)))
    with open(os.path.join(observe.RESULTS, "soak.tsv"), "a") as out:
        if len(MEASURED) == 1:
            out.write("\t".join(MEASURED[0]) + "\n")
        out.write("\t".join(str(value) for value in MEASURED[-1].values()) + "\n")


# ---- who comes and goes --------------------------------------------------------------------------------------

class Visitor:
    """Another gilscope at the service, for the time of one round; what it wrote is thrown away."""

    def __init__(self, pid, *words, armed="armed in"):
        self.gilscope, self.armed = Gilscope(words[0], pid, *words[1:]), armed

    def __enter__(self):
        self.gilscope.hears(self.armed)
        return self.gilscope

    def __exit__(self, kind, *_):
        self.gilscope.__exit__()
        if not kind:
            for end in (".out", ".err"):
                os.unlink(self.gilscope.base + end)


def attached(service):
    with Visitor(service.pid, "attach", "--no-store", "--json", "--mode", "full") as visitor:
        yield
        visitor.stop()


def attached_with_children(service):
    with Visitor(service.pid, "attach", "--children", "--no-store", "--json", "--mode", "full") as visitor:
        yield
        visitor.stop()


def killed(service):
    with Visitor(service.pid, "attach", "--children", "--no-store", "--mode", "full") as visitor:
        yield
        visitor.process.kill()
        visitor.process.wait()


def traced(service):
    path = os.path.join(observe.RESULTS, "soaked.json")
    with Visitor(service.pid, "trace", "--duration", "1h", "-o", path) as visitor:
        yield
        visitor.stop()
    os.unlink(path)


def dumped(service):
    yield
    run("dump", service.pid, "--json")


VISITS = (attached, killed, attached_with_children, traced, dumped)
ROUNDS_AT_LEAST = 3 * len(VISITS)


# ---- rounds --------------------------------------------------------------------------------------------------

class Told:
    """What gilscope has written so far, read once: summaries by PID, of the last program that had it."""

    def __init__(self, gilscope):
        self.path, self.at, self.summaries = gilscope.base + ".out", 0, {}

    def read_on(self):
        with open(self.path) as out:
            out.seek(self.at)
            for line in iter(out.readline, ""):
                if not line.endswith("\n"):
                    break
                self.at += len(line.encode())
                said = json.loads(line) if line.startswith("{") else {}
                if said.get("type") == "summary" and said["end"] != "exec":
                    self.summaries[said["pid"]] = said

    def has(self, pids):
        self.read_on()
        return all(pid in self.summaries for pid in pids)


def expect_counted(what, got, made, summary):
    """Whoever misses some must count some as lost."""
    expect(got == made or summary["process"]["lost"] > 0, "%s: %s acquires, not %d, and nothing is counted as lost" % (what, got, made))


def add_losses(losses, summary):
    for name, n in summary["losses"].items():
        losses[name] = losses.get(name, 0) + n


def judge_round(truth, told, counted, losses):
    pid, lives = truth["threads"]
    pids = truth["processes"] + [pid]
    patiently(lambda: told.has(pids), "summaries of %s" % pids)
    seen = {thread["tid"]: thread["n"] for thread in told.summaries[pid]["threads"]}
    for tid in lives:
        expect_counted("thread %d of process %d" % (tid, pid), seen.get(tid), counted.acquires(tid), told.summaries[pid])
    for one in truth["processes"]:
        expect_counted("process %d" % one, told.summaries[one]["process"]["n"], counted.acquires(one), told.summaries[one])
    for one in pids:
        add_losses(losses, told.summaries.pop(one))
    return len(pids)


def play_round(service, visit):
    visiting = visit(service)
    next(visiting)
    service.go()
    truth = service.truth()
    next(visiting, None)
    return truth


@check("soak")
def nothing_is_missed_without_being_counted():
    # An id of a thread is not used again, so that each has its own counter.
    with open("/proc/sys/kernel/pid_max", "w") as most:
        most.write(str(1 << 22))
    before, begin, processes, losses = objects(), time.monotonic(), 0, {}
    with Counted() as counted, Workload(STOCK, os.path.join(observe.HERE, "rounds.py"), **counted.environment) as service:
        with Gilscope("attach", service.pid, "--children", "--no-store", "--json", "--mode", "full", "-i", "2s") as gilscope:
            gilscope.hears("armed in")
            told, there = Told(gilscope), objects()
            while time.monotonic() - begin < 60 * MINUTES or len(MEASURED) < ROUNDS_AT_LEAST:
                truth = play_round(service, VISITS[len(MEASURED) % len(VISITS)])
                processes += judge_round(truth, told, counted, losses)
                patiently(lambda: objects() == there, "programs, maps and links of one gilscope (%s), not %s" % (there, objects()))
                measure(gilscope, begin, processes)
                print("round %d: %s" % (len(MEASURED), MEASURED[-1]), flush=True)
            gilscope.stop()
            add_losses(losses, gilscope.summary(service.pid))
        expect_no_breakpoints(service.pid)
        service.go() # and it works on
        expect(service.truth()["processes"], "no round without gilscope")
    patiently(lambda: objects() == before, "programs, maps and links as before (%s), not %s" % (before, objects()))
    return "%d rounds in %.0f min, %d processes, all acquires there or counted as lost: %s" % (
        len(MEASURED), (time.monotonic() - begin) / 60, processes, losses or "none lost")


def grown(name):
    """From the middle third of the rounds to the last, by their least: what is used for a while only does not count. Nor do rounds
    in which a process of gilscope's was just being replaced."""
    third, whole = len(MEASURED) // 3, max(one["processes"] for one in MEASURED)
    middle, last = ([one[name] for one in some if one["processes"] == whole]
                    for some in (MEASURED[third:2 * third], MEASURED[-third:]))
    expect(middle and last, "gilscope never has all of its processes")
    return min(last) - min(middle)


def expect_no_growth(name, most, unit):
    expect(len(MEASURED) >= ROUNDS_AT_LEAST, "only %d rounds" % len(MEASURED))
    expect(grown(name) <= most, "%d %s more, in %d rounds" % (grown(name), unit, len(MEASURED) // 3))
    return "%+d %s, %d at first, %d at last" % (grown(name), unit, MEASURED[0][name], MEASURED[-1][name])


@check("growth")
def the_kernel_does_not_grow():
    return expect_no_growth("kernel_kb", KERNEL_KB_PER_ROUND * (len(MEASURED) // 3), "KiB")


@check("growth")
def gilscope_does_not_grow():
    return expect_no_growth("rss_kb", RSS_KB_PER_ROUND * (len(MEASURED) // 3) + PLACE_KB * grown("places"), "KiB")


@check("growth")
def gilscope_keeps_no_descriptor():
    """Of what it has had before: a library that it meets for the first time it keeps open, with what it has read of it."""
    expect(len(MEASURED) >= ROUNDS_AT_LEAST, "only %d rounds" % len(MEASURED))
    third = len(DESCRIPTORS) // 3
    most = functools.reduce(operator.or_, DESCRIPTORS[:-third]) # of each kind the greatest number
    more = functools.reduce(operator.and_, DESCRIPTORS[-third:]) - most # the least
    new = {name: n for name, n in more.items() if most[name] or n > 2}
    expect(not new, "more of %s" % new)
    return "%+d, the files of libraries, %d at first, %d at last" % (
        grown("descriptors"), MEASURED[0]["descriptors"], MEASURED[-1]["descriptors"])


check("dmesg")(the_kernel_has_no_complaint)
main(sys.argv[1:])
