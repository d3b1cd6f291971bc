# SPDX-License-Identifier: GPL-2.0-only
"""What all workloads have in common: the talk with the observer, the C library, gates and threads.

The talk, one line each way on stdout and stdin:

    ready PID           every thread exists and waits at its start gate: attach now
    go                  from the observer: run
    {"pid": ...}        the truth, from inside; all threads wait at their end gate: read the last interval
    quit                from the observer (or end of input): exit

`PYTHONPATH` and packages are not needed: this file lies beside the workloads. Python 3.8 and later,
standard library only. The gates are explained in gilwork.c.
"""
import ctypes
import json
import os
import sys
import threading

START, END = 0, 1


class HogTruth(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint64) for name in (
        "holds", "stall_ns", "hold_ns", "hold_min_ns", "hold_max_ns", "begin_ns", "end_ns")]


class VictimTruth(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint64) for name in (
        "acquires", "stall_ns", "stall_max_ns", "handoff_ns", "stalls", "begin_ns", "end_ns")]


class Spent(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint64) for name in ("wall_ns", "cpu_ns", "delay_ns")]


class WorkerTruth(ctypes.Structure):
    # "in" is no name in Python
    _fields_ = [("inside", Spent), ("all", Spent), ("holds", ctypes.c_uint64)]


class ContestTruth(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint64) for name in ("wall_ns", "cpu_ns", "acquires", "blocked")]


class Span(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint64) for name in ("begin", "end")]


class BlamedTruth(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint64) for name in ("hold_low_ns", "hold_high_ns", "blame_low_ns")]


class ChainLink(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint64) for name in ("wanted", "blocked", "got", "letting", "let_go", "hold_ns")] + [
        ("tid", ctypes.c_int), ("call", ctypes.c_int * 2)]


class Chain(ctypes.Structure):
    _fields_ = [("links", ChainLink * 8), ("over", ctypes.c_int * 2), ("n", ctypes.c_int)]


class Late(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint64) for name in (
        "rounds", "blame_low_ns", "blame_high_ns", "free_low_ns", "free_high_ns", "least_ns", "wanted", "got")] + [("tid", ctypes.c_int), ("call", ctypes.c_int * 2), ("over", ctypes.c_int * 2)]


class Garbage(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint64) for name in ("begun_ns", "let_go_ns", "total_ns", "longest_ns", "n")]


def as_dict(truth):
    return {name: getattr(truth, name) for name, _ in truth._fields_}


def _libraries():
    here = os.path.dirname(os.path.abspath(__file__))
    output = os.environ.get("GILSCOPE_OUTPUT", os.path.join(here, "..", "..", ".output"))
    path = os.path.join(output, "workloads", "libgilwork.so")
    u64, num = ctypes.c_uint64, ctypes.c_int
    prototypes = {
        "noop": (None, []), "now_ns": (u64, []), "thread_id": (num, []), "in_futex": (num, [num]),
        "name_thread": (None, [ctypes.c_char_p]), "nap": (None, [u64]), "burn": (None, [u64]), "compute": (None, [u64]),
        "gate_wait": (None, [num]), "gate_open": (None, [num]), "gate_watch": (None, [num, num]),
        "gate_shut": (None, [num]), "cycle": (None, [num, num, u64]), "cycle_ns": (u64, [u64]),
        "cycle_holding": (None, [num, num, u64, u64]), "confined_cycle": (None, [num, u64, num, num]),
        "hog": (None, [ctypes.POINTER(HogTruth), num, num, u64, u64, u64]),
        "hog_until_told": (num, [ctypes.POINTER(HogTruth), num, num]),
        "victim": (None, [ctypes.POINTER(VictimTruth), num, num, ctypes.POINTER(num), u64]),
        "blamed_hog": (None, [ctypes.POINTER(BlamedTruth), ctypes.POINTER(Span), num, num, u64, u64, num, ctypes.POINTER(num),
                              num]),
        "blamed_victim": (None, [ctypes.POINTER(Span), u64, ctypes.POINTER(u64), num, num, ctypes.POINTER(num), u64]),
        "worker": (num, [ctypes.POINTER(WorkerTruth), num, num, u64, u64, u64, u64]),
        "share_one_cpu": (None, []), "contest_prepare": (None, []), "contest_begin": (None, []), "contest_yielding": (None, [u64]),
        "contest_turn": (None, [num]), "contest_end": (None, [ctypes.POINTER(ContestTruth)]),
        "chain_open": (num, [ctypes.POINTER(Chain), num]), "chain_play": (None, [ctypes.POINTER(Chain)]),
        "chain_member": (None, [ctypes.POINTER(Chain), num, num]),
        "late_open": (num, [ctypes.POINTER(Late), u64]), "late_taker": (None, [ctypes.POINTER(Late), num]),
        "late_giver": (None, [ctypes.POINTER(Late), num, num, u64]),
        "garbage_clock": (None, [ctypes.POINTER(Garbage), ctypes.py_object, ctypes.py_object]),
        "garbage_let_go": (None, [ctypes.POINTER(Garbage), u64, ctypes.py_object]),
        "idlers_start": (num, [num, u64, ctypes.POINTER(num)]), "idlers_stop": (u64, []),
        "stuck_hold": (None, [num, num]), "stuck_tell": (num, [num, num]), "stuck_fork": (num, []),
    }
    libraries = ctypes.PyDLL(path), ctypes.CDLL(path)
    for library in libraries:
        for name, (result, arguments) in prototypes.items():
            function = getattr(library, name)
            function.restype, function.argtypes = result, arguments
    return libraries


# The same functions twice: `keep` holds the GIL during a call, `drop` releases it exactly once per call.
keep, drop = _libraries()


def never_force():
    """No waiter asks for the GIL any more, so that releases are those of the program alone."""
    sys.setswitchinterval(1000)


def be_eager():
    """This process goes before others of the machine, where that is allowed. To be called before threads are started."""
    try:
        os.setpriority(os.PRIO_PROCESS, 0, -20)
        os.setsid() # priorities hold among those of a session (sched(7), autogroup)
        with open("/proc/self/autogroup", "w") as group:
            group.write("-20")
    except OSError:
        pass


def start_thread(name, body, *args):
    """A thread that both threading and the kernel know by name. Returns it; its .tid is set."""
    ids = []

    def run():
        keep.name_thread(name.encode()[:15])
        ids.append(keep.thread_id())
        body(*args)

    thread = threading.Thread(target=run, name=name, daemon=True)
    thread.start()
    while not ids:
        drop.nap(100000)
    thread.tid = ids[0]
    return thread


class HogPlay:
    """A hog and its victims, for whichever threads play them: what hog_victim.py does, for others too."""

    def __init__(self, victims, holds, hold_ms=50, gap_ms=5, pause_ms=1):
        self.stop = ctypes.c_int(0)
        self.hog, self.victims = HogTruth(), [VictimTruth() for _ in range(victims)]
        self.holds, self.hold_ns, self.gap_ns = holds, int(hold_ms * 1e6), int(gap_ms * 1e6)
        self.pause_ns = int(pause_ms * 1e6)

    def play(self, part):
        """Part 0 is the hog's, the others are victims'. Passes both gates."""
        if part == 0:
            keep.hog(self.hog, START, END, self.holds, self.hold_ns, self.gap_ns)
        else:
            keep.victim(self.victims[part - 1], START, END, self.stop, self.pause_ns)

    def direct(self):
        """Opens the start gate and returns when all stand at the end gate: their truths, in the order of the parts."""
        keep.gate_open(START)
        drop.gate_watch(END, 1)
        self.stop.value = 1
        drop.gate_watch(END, 1 + len(self.victims))
        return [dict(as_dict(self.hog), acquires=self.holds)] + [as_dict(t) for t in self.victims]


def run_delay_ns(tid):
    """How long a thread of ours could have run since it began, and had no CPU."""
    with open("/proc/self/task/%d/schedstat" % tid) as schedstat:
        return int(schedstat.read().split()[1])


def part_name(part):
    return "victim-%d" % (part - 1) if part else "hog"


def say(line):
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def expect(word):
    """Waits for a line from the observer. End of input ends the program."""
    line = sys.stdin.readline()
    if line.strip() == "quit" or not line:
        leave()
    if line.strip() != word:
        sys.exit("expected %r, got %r" % (word, line))


def ready():
    say("ready %d" % os.getpid())


def run_gated(threads):
    """`ready`, `go`, gates open, all threads through. Returns begin and end (ns, CLOCK_MONOTONIC)."""
    drop.gate_watch(START, threads)
    ready()
    expect("go")
    begin = keep.now_ns()
    keep.gate_open(START)
    drop.gate_watch(END, threads)
    return begin, keep.now_ns()


def report(begin_ns, end_ns, threads, **more):
    """Says the truth and stays, so that the observer can read to the end."""
    truth = {"pid": os.getpid(), "python": "%d.%d.%d" % sys.version_info[:3],
             "begin_ns": begin_ns, "end_ns": end_ns, "threads": threads}
    truth.update(more)
    say(json.dumps(truth))
    for _ in sys.stdin:
        break
    leave()


def leave():
    """Threads may still wait at a gate, where no finalizer should look for them."""
    sys.stdout.flush()
    os._exit(0)
