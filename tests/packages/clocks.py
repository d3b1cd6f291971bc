# SPDX-License-Identifier: GPL-2.0-only
"""What all programs here have in common: they do their work between two gates, and every function clocks itself.

A program wraps each of its functions by what it does with the GIL: keeps() (C code that does not let go), computes() (bytecode,
which lets go when asked), sleeps() (C code that waits with the GIL), releases() (C code that works without it); and waits by
pause(). The wrapper reads the wall clock, the thread's CPU clock and its number of waits before and after, and never lets go of
the GIL itself. Who is to be blamed the program says by cause(), since that is what it was written for. The talk with the
observer is that of ../workloads/workload.py.

Import this before gevent patches anything: the thread that talks needs the real ones.
"""
import atexit
import gc
import json
import os
import resource
import sys
import threading
from _thread import allocate_lock, start_new_thread
from subprocess import PIPE, Popen
from time import monotonic_ns, sleep, thread_time_ns

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "workloads"))
import workload # noqa: E402 (it lies elsewhere)
from workload import drop, keep # noqa: E402

getrusage, THREAD = resource.getrusage, resource.RUSAGE_THREAD
accounts = {} # (tid, function): Account
causes, loads, starters = [], [], []
pauses = {}
waiting = [] # locks that threads wait for at the first gate
parked = []
begun, over = False, False


class Account:
    def __init__(self, kind, asleep, inside):
        self.kind, self.asleep_ns, self.inside = kind, int(asleep * 1e9), list(inside)
        self.calls = self.wall_ns = self.cpu_ns = self.waits = self.longest_ns = 0

    def add(self, wall, cpu, waits):
        self.calls += 1
        self.wall_ns += wall
        self.cpu_ns += cpu
        self.waits += waits
        self.longest_ns = max(self.longest_ns, wall)


def _clocked(function, kind, asleep=0.0, inside=()):
    def clocked(*args):
        key = (keep.thread_id(), function.__name__)
        account = accounts.get(key) or accounts.setdefault(key, Account(kind, asleep, inside))
        waits, wall, cpu = getrusage(THREAD).ru_nvcsw, monotonic_ns(), thread_time_ns()
        try:
            return function(*args)
        finally:
            cpu, wall = thread_time_ns() - cpu, monotonic_ns() - wall
            account.add(wall, cpu, getrusage(THREAD).ru_nvcsw - waits)
    return clocked


# `inside` are the functions in Python that it calls and where its time goes, if there are any: the package's own, mostly.

def keeps(function, inside=()):
    return _clocked(function, "keeps", inside=inside)


def computes(function, inside=()):
    return _clocked(function, "computes", inside=inside)


def releases(function, inside=()):
    return _clocked(function, "releases", inside=inside)


def sleeps(seconds):
    """Of a function that sleeps for at least so long with the GIL."""
    return lambda function: _clocked(function, "sleeps", seconds)


def pause(seconds):
    """Lets go of the GIL and sleeps for at least so long."""
    name = "pause %g" % seconds
    if name not in pauses:
        def nap():
            drop.nap(int(seconds * 1e9))
        nap.__name__ = name
        pauses[name] = _clocked(nap, "pauses", seconds)
    pauses[name]()


def cause(pattern, function, thread):
    """What a report is to find, and all that it is to find: a pattern as `gilscope report --json` names it, where, and whose."""
    causes.append({"pattern": pattern, "function": function, "thread": thread})


def size_for(ms, call, first=1000):
    """How large `call`'s argument is to be for so many milliseconds of CPU time. The shortest of three, twice."""
    n = first
    for _ in range(2):
        spent = []
        for _ in range(3):
            begin = thread_time_ns()
            call(n)
            spent.append(thread_time_ns() - begin)
        n = max(1, int(n * ms * 1e6 / min(spent)))
    return n


def _wait_cost_ns():
    """CPU time of a wait that times out, the median: what a wait for the GIL adds to the clock of a function that computes."""
    lock, costs = allocate_lock(), []
    lock.acquire()
    for _ in range(31):
        begin = thread_time_ns()
        lock.acquire(True, 0.002)
        costs.append(thread_time_ns() - begin)
    return sorted(costs)[15]


# ---- the two gates -----------------------------------------------------------------------------------------

def _enter():
    gate = allocate_lock()
    gate.acquire()
    waiting.append(gate)
    gate.acquire()


def _park():
    parked.append(keep.thread_id())
    gate = allocate_lock()
    gate.acquire()
    gate.acquire()


def thread(name, body):
    """A thread that calls `body` again and again between the gates."""
    def run():
        _enter()
        while not over:
            body()
        _park()
    starters.append(name)
    threading.Thread(target=run, name=name, daemon=True).start()


def is_begun():
    return begun


def is_over():
    return over


class Load:
    """Clients in a process of their own, between the gates: see load.py. Set `address` before run()'s main waits."""

    def __init__(self, kind):
        script = os.path.join(os.path.dirname(os.path.abspath(__file__)), "load.py")
        self.process = Popen([sys.executable, script, kind], stdin=PIPE, stdout=PIPE)
        self.address = None
        atexit.register(self.process.kill)
        loads.append(self)

    def tell(self, words):
        self.process.stdin.write(words.encode() + b"\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())


def _stolen_ns():
    """What interrupts and the hypervisor took of all CPUs: no CPU time of a thread, nor does it lack a CPU then."""
    with open("/proc/stat") as stat:
        fields = stat.readline().split()
    return sum(int(fields[i]) for i in (6, 7, 8)) * 1000000000 // os.sysconf("SC_CLK_TCK")


def _tasks():
    """Of every thread: CPU time and how long it lacked a CPU (ns), as the kernel has it."""
    tasks = {}
    for tid in os.listdir("/proc/self/task"):
        try:
            with open("/proc/self/task/%s/schedstat" % tid) as stat, open("/proc/self/task/%s/comm" % tid) as comm:
                cpu, delay, _ = stat.read().split()
                tasks[int(tid)] = int(cpu), int(delay), comm.read().rstrip("\n")
        except OSError:
            pass # it has ended
    return tasks


def _threads(before, after):
    """Those that there are; what went before is left out."""
    names = {t.native_id: t.name for t in threading.enumerate()}
    threads = []
    for tid, (cpu, delay, comm) in after.items():
        cpu_then, delay_then, _ = before.get(tid, (0, 0, ""))
        name = "MainThread" if tid == os.getpid() else names.get(tid, comm)
        threads.append({"tid": tid, "name": name, "cpu_ns": cpu - cpu_then, "delay_ns": delay - delay_then})
    return threads


def _functions():
    return [dict(vars(account), tid=tid, function=name) for (tid, name), account in accounts.items()]


def _control(seconds, members):
    global begun, over
    wait_cost = _wait_cost_ns()
    while len(waiting) < len(starters):
        sleep(0.01)
    workload.ready()
    workload.expect("go")
    accounts.clear()
    before, stolen, begin = _tasks(), _stolen_ns(), monotonic_ns()
    begun = True
    for gate in waiting:
        gate.release()
    for clients in loads:
        clients.tell("go %s" % clients.address)
    sleep(seconds)
    served = [clients.tell("stop") for clients in loads]
    over = True
    while len(parked) < members:
        sleep(0.01)
    workload.report(begin, monotonic_ns(), _threads(before, _tasks()), functions=_functions(), causes=causes, served=served,
                    wait_cost_ns=wait_cost, stolen_ns=_stolen_ns() - stolen)


def run(seconds, main=None):
    """The last call of a program. `main` is what the main thread does: it returns some time after is_over(). No garbage is
    collected meanwhile: nothing in Python can clock that without letting go of the GIL, and it has tests of its own."""
    gc.disable()
    start_new_thread(_control, (seconds, len(starters) + (1 if main else 0)))
    if main:
        main()
    _park()
