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


PREEMPTION_MODES = "/sys/kernel/debug/sched/preempt" # "none voluntary (full) lazy"
DYNAMIC = re.compile(r"Dynamic Preempt: (\w+)") # where lockdown closes debugfs


def preemption_by_version():
    """Of a kernel that offers no choice; "PREEMPT_DYNAMIC" would not be an answer."""
    kind = re.search(r"PREEMPT(?!_DYNAMIC)\w*", os.uname().version)
    return kind[0] if kind else "none or voluntary"


def preemption():
    """As the kernel itself says; its command line may have asked for something else."""
    if "PREEMPT_RT" in os.uname().version:
        return "PREEMPT_RT"
    mode = re.search(r"\((\w+)\)", read(PREEMPTION_MODES))
    said = [found[1] for found in map(DYNAMIC.search, kernel_log()) if found]
    return mode[1] if mode else said[-1] if said else preemption_by_version()


def lockdown():
    """none, integrity or confidentiality; none as well where the kernel has no such thing."""
    level = re.search(r"\[(\w+)\]", read("/sys/kernel/security/lockdown"))
    return level[1] if level else "none"


def asked(name):
    """What the command line says of it."""
    found = re.findall(r"(?:^| )%s=(\S+)" % name, read("/proc/cmdline"))
    return found[-1] if found else None


def mode():
    """What the boot is about: that the kernel runs as its command line asks, read back."""
    want, offered = asked("preempt"), re.findall(r"\w+", read(PREEMPTION_MODES))
    if want and want not in offered and want != preemption():
        raise NotApplicable("preempt=%s is not offered%s" % (want, ", only " + " ".join(offered) if offered else ""))
    expect(want in (None, preemption()), "preemption is %s, not %s" % (preemption(), want))
    expect(asked("lockdown") in (None, lockdown()), "lockdown is %s, not %s" % (lockdown(), asked("lockdown")))
    return preemption() + ("" if lockdown() == "none" else ", lockdown %s" % lockdown()) + (
        "" if PAGE_KB == 4 else ", pages of %d KiB" % PAGE_KB)


PAGE_KB = os.sysconf("SC_PAGESIZE") // 1024
# Where BPF programs may not read the kernel's memory gilscope must say so, and is asked nothing else.
ASKED_WITHOUT_MEMORY = ("lockdown", "dmesg")


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


def plan(name, verb):
    print("PLAN\t%s\t%s" % (name, verb), flush=True)


def report(name, verb, function):
    begin = time.monotonic()
    status, detail = judge(function)
    print("CHECK\t%s\t%s\t%s\t%.1f\t%s" % (name, verb, status, time.monotonic() - begin, " ".join(detail.split())), flush=True)
    return status


def forbidden():
    raise NotApplicable("lockdown=confidentiality")


def choose(names):
    wanted = [one for one in CHECKS if not names or one[0] in names or one[1] in names]
    if lockdown() == "confidentiality":
        wanted = [one if one[1] in ASKED_WITHOUT_MEMORY else (one[0], one[1], forbidden) for one in wanted]
    return wanted


def main(names):
    wanted = choose(names)
    BEFORE.update(lines=len(kernel_log()), tainted=tainted())
    print("KERNEL\t%s, preemption %s, perf_event_paranoid %s, pages of %d KiB" % (
        os.uname().release, preemption(), read("/proc/sys/kernel/perf_event_paranoid"), PAGE_KB), flush=True)
    plan("the-kernel-runs-as-asked", "mode")
    if report("the-kernel-runs-as-asked", "mode", mode) == "n/a":
        return
    for name, verb, _ in wanted:
        plan(name, verb)
    for name, verb, function in wanted:
        report(name, verb, function)
