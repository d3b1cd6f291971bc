# SPDX-License-Identifier: GPL-2.0-only
"""Checks, each by its verb, and what becomes of them: what checks.py and soak.py are run by.

Writes `KERNEL TEXT`, what this one is, `PLAN NAME VERB` for each check that will run, then as each ends `CHECK NAME VERB
pass|FAIL|n/a SECONDS DETAIL`, separated by tabs, on standard output, which outlives a panic.
"""
import os
import re
import subprocess
import time
import traceback

import observe
from observe import Failed, expect, expect_equal

CHECKS = []


class NotApplicable(Exception):
    """This machine lacks what the check is about."""


def check(verb):
    """The function is a check of that verb, named like it; what it returns is its detail."""
    def note(function):
        CHECKS.append((function.__name__.replace("_", "-"), verb, function))
        return function
    return note


# A stalled clock is the emulation's: lockup and stall detectors measure time.
ALARM = re.compile(r"WARNING:|BUG:|Oops|general protection|Unable to handle|UBSAN|KASAN|Call [Tt]race|list_(add|del) corruption|panic")
CLOCK = re.compile(r"soft lockup|rcu.*stall|clocksource")


def kernel_log():
    return subprocess.run(["dmesg"], capture_output=True, text=True, errors="replace", check=False).stdout.splitlines()


def read(path):
    try:
        with open(path) as file:
            return file.read().strip()
    except OSError:
        return ""


def preemption():
    """As the kernel itself says; its command line may have asked for something else."""
    mode = re.search(r"\((\w+)\)", read("/sys/kernel/debug/sched/preempt"))
    return mode[1] if mode else (re.search(r"PREEMPT\w*", os.uname().version) or ["none"])[0]


def tainted():
    return int(read("/proc/sys/kernel/tainted"))


def the_kernel_has_no_complaint():
    log = kernel_log()[BEFORE["lines"]:]
    complaints = [line for line in log if ALARM.search(line) and not CLOCK.search(line)]
    clock = sum(bool(CLOCK.search(line)) for line in log)
    expect(not complaints, "; ".join(complaints[:3]))
    expect_equal(tainted(), BEFORE["tainted"], "taint flags")
    return "quiet" + ("; %d lines about stalled clocks" % clock if clock else "")


BEFORE = {}


def judge(function):
    """status and detail"""
    try:
        return "pass", function() or ""
    except NotApplicable as why:
        return "n/a", str(why)
    except Failed as why:
        return "FAIL", str(why)
    except Exception as why: # a check that breaks has failed
        with open(os.path.join(observe.RESULTS, "exceptions"), "a") as file:
            traceback.print_exc(file=file)
        return "FAIL", "%s: %s" % (type(why).__name__, why)


def main(names):
    wanted = [one for one in CHECKS if not names or one[0] in names or one[1] in names]
    BEFORE.update(lines=len(kernel_log()), tainted=tainted())
    print("KERNEL\t%s, preemption %s, perf_event_paranoid %s, pages of %d KiB" % (
        os.uname().release, preemption(), read("/proc/sys/kernel/perf_event_paranoid"), os.sysconf("SC_PAGESIZE") // 1024), flush=True)
    for name, verb, _ in wanted:
        print("PLAN\t%s\t%s" % (name, verb), flush=True)
    for name, verb, function in wanted:
        begin = time.monotonic()
        status, detail = judge(function)
        print("CHECK\t%s\t%s\t%s\t%.1f\t%s" % (name, verb, status, time.monotonic() - begin, " ".join(detail.split())), flush=True)
