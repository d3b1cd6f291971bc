# SPDX-License-Identifier: GPL-2.0-only
"""usage: judge.py [--numbers] PYTHON PROGRAM...     environment: OUTPUT (where gilscope was built), RESULTS, LACKING, GILSCOPE_ALL_APPLY

Runs each program under PYTHON with `gilscope attach` beside it from before its work until after, and `gilscope report` in the
midst of it; then judges what both say by the program's own clocks. What they said and truth.json are left in RESULTS, a folder
each.

The bounds are those of the clocks, none is made up: a hold on a CPU lies between the CPU time of the functions that keep the
GIL and the thread's; one asleep or without a CPU is no longer than the thread was that. What a function had of it may be off by
chance, too: by ERRORS of the standard errors that gilscope gives with it, which happens once in 16,000 times.

--numbers: holds, threads and losses alone, without a report: which findings there are hangs on how busy the machine is, too.

LACKING has a line for each package that the registry did not give, and why: programs that need it are not applicable.
"""
import fnmatch
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time

ERRORS = 4.0
MIN_SHARE = 0.02 # of the thread's hold: smaller functions are not judged
SHORT_OF_CPU = 0.05 # of the time: from here on it may be said, since it is so
SILENT = {"fine", "handover", "many_threads"} # which name no code
REPORT_SECONDS = 4

here = os.path.dirname(os.path.abspath(__file__))
numbers_alone = sys.argv[1:2] == ["--numbers"]
python, *programs = sys.argv[2:] if numbers_alone else sys.argv[1:]
output = os.path.abspath(os.environ["OUTPUT"])
results = os.environ.get("RESULTS", os.path.join(output, "packages", "results"))
gilscope = os.path.join(output, "gilscope")


# ---- a run -------------------------------------------------------------------------------------------------

def read(process, what):
    line = process.stdout.readline()
    if not line.strip():
        raise RuntimeError("the program ended before it said %s" % what)
    return line


def start_program(name, folder):
    environment = dict(os.environ, GILSCOPE_OUTPUT=output, PYTHONPATH=here, PYTHONDONTWRITEBYTECODE="1")
    return subprocess.Popen([python, os.path.join(here, "programs", name + ".py")], cwd=folder, env=environment,
                            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=open(os.path.join(folder, "stderr"), "w"),
                            universal_newlines=True)


def attach(pid, folder):
    process = subprocess.Popen([gilscope, "attach", str(pid), "--json", "--no-store", "--mode", "full"],
                               stdout=open(os.path.join(folder, "attach.json"), "w"), stderr=subprocess.PIPE,
                               universal_newlines=True)
    for line in process.stderr:
        if ": armed in" in line:
            return process
    raise RuntimeError("gilscope did not attach: see its standard error")


class Census(threading.Thread):
    """Every thread that the kernel has of a process, those too that end: what the program can't tell of itself."""

    def __init__(self, pid):
        super().__init__(daemon=True)
        self.pid, self.seen, self.over = pid, set(), threading.Event()
        self.start()

    def run(self):
        while not self.over.wait(0.01):
            self.seen.update(int(tid) for tid in os.listdir("/proc/%d/task" % self.pid))

    def end(self):
        self.over.set()
        self.join()
        return sorted(self.seen)


def report(pid, folder):
    path = os.path.join(folder, "report.json")
    with open(path, "w") as file:
        subprocess.check_call([gilscope, "report", str(pid), "--duration", "%ds" % REPORT_SECONDS, "--json"], stdout=file,
                              stderr=subprocess.DEVNULL)
    with open(path) as file:
        return json.load(file)


def summary_of(folder):
    with open(os.path.join(folder, "attach.json")) as file:
        lines = [json.loads(line) for line in file]
    return next(line for line in lines if line["type"] == "summary")


def run(name, folder):
    """The truth, the summary of attach, and the report."""
    program = start_program(name, folder)
    watcher = None
    try:
        pid = int(read(program, "ready").split()[1])
        census = Census(pid)
        watcher = attach(pid, folder)
        program.stdin.write("go\n")
        program.stdin.flush()
        time.sleep(0.5)
        said = None if numbers_alone else report(pid, folder)
        truth = json.loads(read(program, "the truth"))
        truth["seen"] = census.end()
        watcher.send_signal(signal.SIGINT)
        if watcher.wait(60) != 0:
            raise RuntimeError("gilscope attach ended with status %d" % watcher.returncode)
        with open(os.path.join(folder, "truth.json"), "w") as file:
            json.dump(truth, file, indent=1)
        return truth, summary_of(folder), said
    finally:
        for process in (program, watcher):
            if process and process.poll() is None:
                process.kill()
                process.wait()


# ---- what is right -----------------------------------------------------------------------------------------

def of_thread(truth, tid):
    return [f for f in truth["functions"] if f["tid"] == tid]


def stolen_ns(truth):
    """What was taken of CPUs at most: the kernel counts it in ticks."""
    return truth["stolen_ns"] + 1000000000 // os.sysconf("SC_CLK_TCK")


def names_of(function):
    return [function["function"]] + function["inside"]


def least_cpu_ns(truth, function):
    """What it must have held on a CPU. To wait for the GIL, or to be woken for it, costs CPU time as well."""
    if function["kind"] not in ("keeps", "computes"):
        return 0
    return max(0, function["cpu_ns"] - function["waits"] * truth["wait_cost_ns"])


def hold_of(truth, thread, function):
    """Least and most of what a function held (ns), on a CPU or off it."""
    least = least_cpu_ns(truth, function)
    if function["kind"] == "sleeps":
        return function["calls"] * function["asleep_ns"], function["wall_ns"]
    if function["kind"] == "keeps":
        return least, function["wall_ns"]
    most = min(function["wall_ns"], function["cpu_ns"] + thread["delay_ns"] + stolen_ns(truth))
    return least, most


def asleep_of(functions):
    """Least and most of what they slept with the GIL (ns). Who lets go of it may have to sleep for the mutex around it."""
    least = sum(f["calls"] * f["asleep_ns"] for f in functions if f["kind"] == "sleeps")
    paused = sum(f["calls"] * f["asleep_ns"] for f in functions if f["kind"] == "pauses")
    return least, sum(f["wall_ns"] - f["cpu_ns"] for f in functions) - paused


# ---- judging -----------------------------------------------------------------------------------------------

def ms(ns):
    return "%.1f ms" % (ns / 1e6)


def outside(what, told, least, most):
    """A sentence if the number (ns) is not within the bounds."""
    if least <= told <= most:
        return []
    return ["%s: %s, its own clock says %s to %s" % (what, ms(told), ms(least), ms(most))]


def told_parts(thread):
    """What is told of a thread's hold (ns): on a CPU, asleep, without a CPU."""
    parts = [1000 * part for part in thread.get("ho", [])] + [0, 0, 0]
    return 1000 * thread["hold"] - sum(parts[:3]), parts[0], parts[1]


def judge_holds(truth, summary):
    wrong = []
    told = {t["tid"]: t for t in summary["threads"]}
    for thread in truth["threads"]:
        functions = of_thread(truth, thread["tid"])
        if thread["tid"] not in told or not functions:
            continue # whether it should be there is judged by judge_threads
        on_cpu, asleep, preempted = told_parts(told[thread["tid"]])
        least_asleep, most_asleep = asleep_of(functions)
        wrong += outside("%s on a CPU" % thread["name"], on_cpu, sum(least_cpu_ns(truth, f) for f in functions),
                         thread["cpu_ns"] + stolen_ns(truth))
        wrong += outside("%s asleep" % thread["name"], asleep, least_asleep, most_asleep)
        wrong += outside("%s without a CPU" % thread["name"], preempted, 0, thread["delay_ns"])
    return wrong


def judge_threads(truth, summary):
    """Who must have held the GIL is told of, by the name that it has; nobody is who is no thread of the program."""
    wrong = []
    told = {t["tid"]: t["name"] for t in summary["threads"]}
    known = {t["tid"]: t["name"] for t in truth["threads"]}
    names = list(known.values())
    for tid in {f["tid"] for f in truth["functions"]}:
        if tid not in told:
            wrong.append("%s (%d) is not told of" % (known.get(tid, "a thread that ended"), tid))
        elif tid in known and names.count(known[tid]) == 1 and told[tid] != known[tid]:
            wrong.append("%s is called %s" % (known[tid], told[tid]))
    wrong += ["%s (%d) is no thread of the program" % (name, tid) for tid, name in told.items() if tid not in truth["seen"]]
    return wrong


def judge_functions(truth, summary):
    """Places are told by the innermost function in Python: the program's own, or the one of the package that it calls."""
    wrong = []
    threads = {t["tid"]: t for t in truth["threads"]}
    for function in truth["functions"]:
        thread = threads.get(function["tid"])
        rows = [r for r in summary["code"] if r["tid"] == function["tid"] and
                r["function"].split(".")[-1] in names_of(function)]
        all_of_thread = next((1000 * t["hold"] for t in summary["threads"] if t["tid"] == function["tid"]), 0)
        if not thread or not all_of_thread:
            continue
        least, most = hold_of(truth, thread, function)
        if least < MIN_SHARE * all_of_thread and function["kind"] != "releases":
            continue
        held = 1000 * sum(r["hold"] for r in rows)
        error = 1000 * sum(r.get("error", 0) ** 2 for r in rows) ** 0.5
        wrong += outside("%s of %s, give or take %s" % (function["function"], thread["name"], ms(error)), held,
                         least - ERRORS * error, most + ERRORS * error)
    return wrong


def finding_of(finding, truth):
    """(pattern, function, thread): the function is one that the program names if the finding's code goes through it."""
    code = finding.get("code", "")
    functions = [f["function"] for f in truth["functions"] if
                 any(re.search(r"\b%s\b" % re.escape(name), code) for name in names_of(f))]
    return finding["pattern"], functions[0] if functions else code.split(" (")[0], finding.get("name", "")


def is_short_of_cpu(truth):
    return sum(t["delay_ns"] for t in truth["threads"]) >= SHORT_OF_CPU * (truth["end_ns"] - truth["begin_ns"])


def is_that(told, right):
    """Of a pool's threads any may be the worst: their name is a pattern."""
    return told[:2] == right[:2] and fnmatch.fnmatchcase(told[2], right[2])


def judge_findings(truth, said):
    right = {(c["pattern"], c["function"], c["thread"]) for c in truth["causes"]}
    told = {finding_of(f, truth) for f in said["findings"] if f["pattern"] not in SILENT}
    if is_short_of_cpu(truth):
        told = {finding for finding in told if finding[0] != "starved_holder"}
    missing = [r for r in sorted(right) if not any(is_that(t, r) for t in told)]
    wrong = [t for t in sorted(told) if not any(is_that(t, r) for r in right)]
    return (["not found: %s, %s of %s" % finding for finding in missing] +
            ["found, but not so: %s, %s of %s" % finding for finding in wrong])


def judge_losses(summary):
    return ["lost: %s" % json.dumps(summary["losses"])] if summary["losses"] else []


def judge(truth, summary, said):
    """What each claim came to: a list of sentences, empty if all is right."""
    claims = [("hold of each thread", judge_holds(truth, summary)), ("threads", judge_threads(truth, summary)),
              ("hold of each function", judge_functions(truth, summary)), ("nothing lost", judge_losses(summary))]
    return claims + ([("findings", judge_findings(truth, said))] if said else [])


# ---- the suite ---------------------------------------------------------------------------------------------

def needs_of(name):
    with open(os.path.join(here, "programs", name + ".py")) as file:
        found = re.search(r"^# needs: (.*)$", file.read(), re.M)
    return found.group(1).split() if found else []


def read_lacking():
    path = os.environ.get("LACKING", "")
    if not os.path.exists(path):
        return {}
    with open(path) as file:
        return dict(line.rstrip("\n").split("\t", 1) for line in file)


def main():
    lacking = read_lacking()
    count = {"ok": 0, "FAIL": 0, "n/a": 0}

    def tell(status, name, claim, words=""):
        count[status] += 1
        print("%-4s  %-20s %s%s" % (status, name, claim, ": " + words if words else ""), flush=True)

    for name in programs:
        missing = [package for package in needs_of(name) if package in lacking]
        if missing:
            tell("n/a", name, "all", "no %s: %s" % (missing[0], lacking[missing[0]]))
            continue
        folder = os.path.join(results, name)
        os.makedirs(folder, exist_ok=True)
        try:
            claims = judge(*run(name, folder))
        except (OSError, RuntimeError, ValueError, subprocess.SubprocessError) as error:
            tell("FAIL", name, "runs", str(error))
            continue
        for claim, wrong in claims:
            tell("FAIL" if wrong else "ok", name, claim, "; ".join(wrong))
    print("%d not applicable" % count["n/a"])
    print("%d passed, %d failed, 0 skipped" % (count["ok"], count["FAIL"]))
    inapplicable = count["n/a"] if os.environ.get("GILSCOPE_ALL_APPLY") == "1" else 0
    return 1 if count["FAIL"] or inapplicable or not count["ok"] else 0


sys.exit(main())
