# SPDX-License-Identifier: GPL-2.0-only
"""usage: checks.py [NAME...]

What `make test-kernels` asks of a kernel, from inside the machine that runs it. The truth is the programs' own: what a check holds
gilscope's numbers against was counted by the observed program itself. What it writes: judging.py. Environment: POOLS (10).
"""
import collections
import contextlib
import json
import os
import re
import subprocess
import sys

import observe
from judging import NotApplicable, check, lockdown, main, read, the_kernel_has_no_complaint
from observe import (Counted, Gilscope, Python, Workload, breakpoints, expect, expect_equal, expect_no_breakpoints,
                     expect_nothing_lost, expect_threads, patiently, run)

STOCK = Python("python3", "/usr/bin/python3")
OTHER_ROOT = "/mnt"


def counted_by(python, *words):
    """Threads under attach in full mode, and nothing is left of it; the kinds of words are options of gilscope."""
    with Workload(python, "release_loop.py", 2003, 3, "--call", "read") as workload:
        with Gilscope("attach", workload.pid, "--json", "--mode", "full", *words) as gilscope:
            gilscope.hears("armed in")
            planted = breakpoints(workload.pid)
            workload.go()
            threads = workload.truth()["threads"]
            gilscope.stop()
            expect_no_breakpoints(workload.pid)
            made = expect_threads(gilscope.summary(workload.pid), threads)
            return workload.pid, made, planted, gilscope


# ---- verbs -------------------------------------------------------------------------------------------------

def doctor():
    with Gilscope("doctor", "--json") as gilscope:
        gilscope.process.wait()
        return json.loads(gilscope.wrote())


@check("doctor")
def doctor_says_yes():
    found = doctor()
    bad = ["%s: %s" % (one["topic"], one["text"]) for one in found["findings"] if one["level"] != "ok"]
    expect("full" in found["modes"], "can not attach: " + "; ".join(bad))
    return "; ".join(bad) or "all is well"


@check("lockdown")
def lockdown_is_named_with_what_it_takes_away():
    found, level = doctor(), lockdown()
    said = [one["text"] for one in found["findings"] if one["topic"] == "lockdown"]
    if level == "none":
        expect_equal(said, [], "what doctor says of lockdown")
        return "none"
    expect(len(said) == 1 and level in said[0], "doctor says %s of lockdown=%s" % (said, level))
    expect_equal("full" in found["modes"], level == "integrity", "whether probes can be had")
    if level == "integrity":
        return said[0]
    with Workload(STOCK, "release_loop.py", 503, 2) as workload:
        with Gilscope("attach", workload.pid, "--no-store", "--mode", "full") as gilscope:
            gilscope.process.wait()
        expect("lockdown=confidentiality" in gilscope.said(), "attach says: %s" % gilscope.failure())
        expect(not breakpoints(workload.pid), "attach is refused and has planted")
        workload.go()
        expect_equal(len(workload.truth()["threads"]), 2, "threads of the program, afterwards")
    return "%s; attach: %s" % (said[0], gilscope.failure())


@check("attach")
def threads_are_counted_exactly():
    pid, made, planted, gilscope = counted_by(STOCK)
    expect(planted > 0, "no breakpoint was there while it observed")
    armed = re.search(r"armed in ([0-9.]+ \w+)", gilscope.said())
    stored = json.loads(run("query", pid, "--json", "--threads"))
    kept = sum(thread["n"] for thread in stored["threads"])
    expect(kept >= made, "the history has %d acquires, the program made %d" % (kept, made))
    return "%d of %d, armed in %s" % (made, made, armed[1])


@check("lift")
def no_breakpoint_is_left():
    with Workload(STOCK, "release_loop.py", 503, 2) as workload:
        with Gilscope("attach", workload.pid, "--no-store", "--json", "--mode", "full") as gilscope:
            gilscope.hears("armed in")
            planted = breakpoints(workload.pid)
            expect(planted > 0, "no breakpoint was there while it observed")
            gilscope.stop()
        expect_no_breakpoints(workload.pid)
        workload.go()
        expect_equal(len(workload.truth()["threads"]), 2, "threads of the program, afterwards")
    return "%d changed bytes, then none" % planted


@check("light")
def waits_are_seen_in_light_mode():
    with Workload(STOCK, "guilty.py", 8) as workload:
        with Gilscope("attach", workload.pid, "--no-store", "--json", "--mode", "light") as gilscope:
            gilscope.hears("armed in")
            workload.go()
            truth = workload.truth()
            gilscope.stop()
            summary = gilscope.summary(workload.pid)
    expect_equal(summary["mode"], "light", "mode")
    least = sum(thread.get("blame_low_ns", 0) for thread in truth["threads"]) / 1e3
    most = 5 * (truth["end_ns"] - truth["begin_ns"]) / 1e3
    wait = summary["process"]["wait"]
    expect(least <= wait <= most, "%d us of waiting, between %d and %d are true" % (wait, least, most))
    expect("hold" not in summary["process"] or summary["process"]["hold"] is None, "holds, which light mode can't know")
    expect_nothing_lost(summary)
    return "%d us of waiting, at least %d are true" % (wait, least)


def expect_children(gilscope, children):
    """What family.py says of the processes of its pool; in all."""
    return sum(expect_threads(gilscope.summary(pid), [{"tid": tid, "name": "process %d" % pid, "acquires": acquires}])
               for pid, tid, acquires in children)


def pool_by(method):
    with Workload(STOCK, "family.py", "pool", method, 3, 1003) as workload:
        with Gilscope("attach", workload.pid, "--children", "--no-store", "--json", "--mode", "full", "-v") as gilscope:
            gilscope.hears("armed in")
            workload.go()
            for pid in workload.hear().split()[1:]:
                gilscope.hears("(pid %s)" % pid)
            workload.go()
            children = workload.truth()["children"]
            gilscope.stop()
    expect_equal(len(children), 3, "processes of the pool")
    made = expect_children(gilscope, children)
    return "%d of %d" % (made, made)


@check("fork")
def a_forked_pool_is_counted_exactly():
    return pool_by("fork")


@check("spawn")
def a_spawned_pool_is_counted_exactly():
    return pool_by("spawn")


@check("--all")
def all_processes_are_counted_exactly():
    with Workload(STOCK, "release_loop.py", 1003, 2) as there, \
            Gilscope("attach", "--all", "--match", "release_loop|family", "--no-store", "--json", "--mode", "full",
                     "-v") as gilscope:
        gilscope.hears("(pid %d)" % there.pid)
        with Workload(STOCK, "family.py", "pool", "fork", 2, 503) as comes:
            comes.go()
            for pid in comes.hear().split()[1:]:
                gilscope.hears("(pid %s)" % pid)
            comes.go()
            children = comes.truth()["children"]
            there.go()
            threads = there.truth()["threads"]
            gilscope.stop()
    made = expect_threads(gilscope.summary(there.pid), threads)
    return "%d of both" % (made + expect_children(gilscope, children))


@check("dump")
def dump_names_who_holds_it():
    with Workload(STOCK, "guilty.py", "--hang") as workload:
        workload.go()
        expect_equal(workload.hear(), "hangs", "word of the program")
        dump = json.loads(run("dump", workload.pid, "--json"))
        workload.process.kill() # it never lets go
    holders = [thread for thread in dump["threads"] if thread["state"] == "holds"]
    expect_equal([thread["name"] for thread in holders], ["heavy"], "holders")
    functions = [frame["function"] for frame in holders[0]["stack"]]
    expect_equal(functions[0], "hang", "innermost function")
    waiting = sorted(thread["name"] for thread in dump["threads"] if thread["state"] == "waits")
    expect_equal([name for name in waiting if name.startswith("victim")], ["victim-%d" % i for i in range(3)], "waiting")
    return "heavy, in hang; %d wait" % len(waiting)


@check("trace")
def a_trace_has_each_hold():
    path = os.path.join(observe.RESULTS, "trace.json")
    with Workload(STOCK, "release_loop.py", 503, 2) as workload:
        with Gilscope("trace", workload.pid, "--duration", "10m", "-o", path) as gilscope:
            gilscope.hears("armed in")
            workload.go()
            threads = workload.truth()["threads"]
            gilscope.stop()
    with open(path) as file:
        trace = json.load(file)
    os.unlink(path)
    expect_equal(trace["otherData"]["events_lost"], 0, "lost events")
    for thread in threads:
        held = sum(event.get("name") == "held" and event.get("tid") == thread["tid"] and event["ph"] in "XB"
                   for event in trace["traceEvents"])
        expect_equal(held, thread["acquires"], "holds of %s" % thread["name"])
    made = sum(thread["acquires"] for thread in threads)
    return "%d of %d holds" % (made, made)


# ---- code --------------------------------------------------------------------------------------------------

@check("stacks")
def code_that_makes_others_wait_is_named():
    with Workload(STOCK, "guilty.py", 8) as workload:
        with Gilscope("attach", workload.pid, "--no-store", "--json", "--mode", "full") as gilscope:
            gilscope.hears("armed in")
            workload.go()
            truth = workload.truth()
            gilscope.stop()
            summary = gilscope.summary(workload.pid)
    for thread in truth["threads"]:
        if "line" not in thread:
            continue
        cells = [cell for cell in summary["code"] if cell["function"] == thread["function"] and
                 cell["line"] in (thread["line"], thread["call_line"])]
        blame = sum(cell["blame"] for cell in cells)
        hold = sum(cell["hold"] for cell in cells)
        # A sleeper: what little of its time it runs is its code's by a tick or none, on one line or the next.
        expect(hold >= thread["hold_low_ns"] / 1e3 * 31 / 32, "%s held %d us, the program says %d at least" % (
            thread["function"], hold, thread["hold_low_ns"] / 1e3))
        expect(blame >= thread["blame_low_ns"] / 1e3 * 31 / 32, "others waited %d us for %s, the program says %d at least" % (
            blame, thread["function"], thread["blame_low_ns"] / 1e3))
    expect_nothing_lost(summary)
    return "heavy and modest, by line"


ENOUGH_US = 300000 # many ticks


def native_of(kind):
    """What C code the summary names for the hog's call."""
    with Workload(STOCK, "native.py", kind) as workload:
        with Gilscope("attach", workload.pid, "--no-store", "--json", "--mode", "full") as gilscope:
            gilscope.hears("armed in")
            workload.go()

            def named():
                """Where most of the time of the hog's call goes: a tick may find it in the interpreter, on its way there."""
                cells = [cell for line in gilscope.lines() for cell in line["code"] if "lambda" in cell["function"]]
                held = collections.Counter()
                for cell in cells:
                    if cell.get("native"):
                        held[cell["native"]] += cell["hold"]
                return held.most_common(1)[0][0] if sum(held.values()) > ENOUGH_US else None
            try:
                patiently(named, "native code of the hog's call")
            finally:
                workload.say("stop")
            truth = workload.truth()["threads"][0]
            gilscope.stop()
    got = named()
    expect(re.match(re.escape(truth["module"]) + "($|[:+])", got), "in %s, not %s" % (got, truth["module"]))
    if truth["symbol"]:
        expect(got.partition(": ")[2].startswith(truth["symbol"]), "function %s, not %s" % (got, truth["symbol"]))
    return got


@check("native")
def native_code_of_a_sleeping_holder_is_named():
    return native_of("nap")


@check("native")
def native_code_of_a_running_holder_is_named():
    return native_of("crc32")


@check("report")
def the_report_names_the_guilty():
    with Workload(STOCK, "native.py", "nap") as workload:
        workload.go()
        with Gilscope("report", workload.pid, "--duration", "6s", "--json") as gilscope:
            gilscope.wait()
            report = json.loads(gilscope.wrote())
        workload.say("stop")
        truth = workload.truth()["threads"][0]
    # An emulated machine lacks CPU time as well, and the report may say so first.
    found = [one for one in report["findings"] if one["pattern"] == "blocked_hold"]
    expect(found, "no finding of a holder that sleeps: %s" % report["headline"])
    finding = found[0]
    expect_equal(finding["name"], truth["name"], "who sleeps")
    expect("%s (native.py:%d)" % (truth["function"], truth["line"]) in finding["code"], "code: %s" % finding["code"])
    return "%s: %s, %s" % (finding["pattern"], finding["name"], finding["code"])


# ---- harm --------------------------------------------------------------------------------------------------

@check("kill")
def a_killed_collector_leaves_no_trace():
    with Workload(STOCK, "release_loop.py", 1003, 2, "--start-early") as workload:
        with Gilscope("attach", workload.pid, "--no-store", "--mode", "full") as gilscope:
            gilscope.hears("armed in")
            planted = breakpoints(workload.pid)
            expect(planted > 0, "no breakpoint was there while it observed")
            gilscope.process.kill()
            gilscope.process.wait()
        expect_no_breakpoints(workload.pid)
        workload.say("pause")
        workload.hear()
        workload.go()
        expect_equal([thread["calls"] for thread in workload.truth()["threads"]], [1003] * 2, "calls, afterwards")
    return "%d changed bytes, then none; it runs on" % planted


def left_out():
    """What the kernel left out of each program that sees forks, execs and exits: from 7.0 on, what comes while one is preempted."""
    shown = json.loads(subprocess.run(["bpftool", "--json", "prog", "show"], capture_output=True, text=True, check=True).stdout)
    return {program["name"]: program["recursion_misses"] for program in shown
            if program.get("name", "").startswith("gil_") and program.get("recursion_misses")}


def most_missed(misses):
    """So many events at most were left out of every program that could have seen them: there is one for forks, three for others."""
    return misses.get("gil_fork", 0) + sum(min(misses.get("gil_%s_%d" % (what, i), 0) for i in (1, 2, 3)) for what in ("exit", "exec"))


def expect_only_missed(summary, most):
    """Nothing is lost but events that the kernel itself says it left out, of any process; what is counted is exact all the same."""
    losses = dict(summary["losses"])
    missed = losses.pop("event_missed", 0)
    expect(not losses and missed <= most and summary["process"]["lost"] == missed, "process %d lost %s (%s), the kernel left out %d" % (
        summary["pid"], summary["process"]["lost"], summary["losses"], most))


@check("pools")
def forked_pools_are_counted_exactly():
    pools = int(os.environ.get("POOLS", "10"))
    children = made = 0
    with Counted() as counted, Workload(STOCK, os.path.join(observe.HERE, "pools.py"), pools, **counted.environment) as workload:
        with Gilscope("attach", workload.pid, "--children", "--no-store", "--json", "--mode", "full") as gilscope:
            gilscope.hears("armed in")
            workload.go()
            truth = workload.truth()
            misses = left_out()
            gilscope.stop()
            for pid, calls in (child for pool in truth["pools"] for child in pool):
                acquires = counted.acquires(pid)
                expect(acquires >= calls, "the counter has %d, the program made %d calls" % (acquires, calls))
                summary = gilscope.summary(pid)
                expect_equal(summary["process"]["n"], acquires, "acquires of process %d" % pid)
                expect_only_missed(summary, most_missed(misses))
                children += 1
                made += acquires
    expect_equal(children, 3 * pools, "processes")
    return "%d pools, %d processes, %d of %d%s" % (pools, children, made, made, "".join(
        "; left out of %s: %d" % one for one in sorted(misses.items())))


# ---- the form of the programs for older kernels ---------------------------------------------------------------

@contextlib.contextmanager
def lacking(*features):
    """gilscope does without these features of the kernel, and takes the other form of its programs."""
    os.environ["GILSCOPE_LACKS"] = ",".join(features)
    try:
        yield
    finally:
        del os.environ["GILSCOPE_LACKS"]


@check("bpf")
def the_older_form_counts_exactly_and_names_the_guilty():
    with lacking("loop", "switch_state"):
        _, made, _, _ = counted_by(STOCK, "--no-store")
        pool = pool_by("fork")
        code = code_that_makes_others_wait_is_named()
    return "%d of %d; pool %s; %s" % (made, made, pool, code)


@check("bpf")
def a_perf_event_for_each_site_counts_exactly_in_the_older_form():
    with lacking("loop", "uprobe_multi"):
        _, made, _, _ = counted_by(STOCK, "--no-store", "--no-off-cpu")
    return "%d of %d, a perf event for each site" % (made, made)


# ---- other interpreters ------------------------------------------------------------------------------------

def version_of(python):
    return subprocess.run(python.words + ["-c", "import sys; print('%d.%d.%d' % sys.version_info[:3])"],
                          capture_output=True, text=True, check=True).stdout.strip()


def counted_on(python):
    _, made, _, _ = counted_by(python, "--no-store")
    return "%s: %d of %d" % (version_of(python), made, made)


@check("stripped")
def threads_of_a_stripped_python_are_counted_exactly():
    return counted_on(Python("stripped", os.path.join(observe.OUTPUT, "pythons", "stripped")))


def in_other_root(*words):
    if not os.path.exists(OTHER_ROOT + "/usr/bin/python3"):
        raise NotApplicable("no other root here")
    for name in ("proc", "tmp"):
        if not os.path.ismount(os.path.join(OTHER_ROOT, name)):
            subprocess.run(["mount", "--bind", "/" + name, os.path.join(OTHER_ROOT, name)], check=True)
    return Python("other root", "chroot", OTHER_ROOT, *words)


@check("3.13")
def threads_of_debian_13_are_counted_exactly():
    return counted_on(in_other_root("/usr/bin/python3"))


@check("3.13")
def threads_of_debian_13_stripped_are_counted_exactly():
    return counted_on(in_other_root(os.path.join(observe.OUTPUT, "pythons", "stripped-other")))


# ---- the kernel --------------------------------------------------------------------------------------------

def bpf_tests(name, *words):
    """Runs tests of the BPF suite; how many have passed, which all that ran must have, and how many were skipped that apply here."""
    tap, log, lacks, budget = (os.path.join(observe.RESULTS, name + end) for end in (".tap", ".log", ".lacks", ".tsv"))
    if os.path.exists(budget):
        os.unlink(budget)
    with open(log, "w") as out:
        done = subprocess.run([os.path.join(observe.OUTPUT, "tests", "bpf-tests"), "--verbose=1", "--jobs", "1", "--tap=" + tap] +
                              list(words), stdout=out, stderr=out, check=False,
                              env=dict(os.environ, REQUIRE_BPF="1", GILSCOPE_BUDGET=budget, GILSCOPE_APPLICABLE=lacks))
    lines = read(tap).splitlines()
    planned = sum(int(line[3:]) for line in lines if re.match(r"1\.\.\d+$", line))
    skipped = sum(line.startswith("ok ") and "# SKIP" in line for line in lines)
    passed = sum(line.startswith("ok ") for line in lines) - skipped
    failed = [line for line in lines if line.startswith("not ok")]
    expect(passed > 0 and passed + skipped == planned and done.returncode == 0, "%d of %d passed, status %d; %s" % (
        passed, planned, done.returncode, "; ".join(failed)[:300]))
    return passed, skipped - read(lacks).count("lacks\t")


@check("budget")
def the_verifier_needs_no_more_than_it_may():
    bpf_tests("budget", "--filter", "budget/*")
    programs = [line.split("\t") for line in read(os.path.join(observe.RESULTS, "budget.tsv")).splitlines()]
    return "%d programs, %d instructions and %d bytes of stack at most, %.1f s to verify" % (
        len(programs), max(int(one[1]) for one in programs), max(int(one[3]) for one in programs),
        sum(int(one[2]) for one in programs) / 1e6)


@check("bpf")
def the_bpf_suite_passes():
    passed, skipped = bpf_tests("bpf")
    expect_equal(skipped, 0, "skipped tests")
    return "%d tests" % passed


check("dmesg")(the_kernel_has_no_complaint)
main(sys.argv[1:])
