# SPDX-License-Identifier: GPL-2.0-only
"""usage: control.py [NAME...]

What a kernel that dies under gilscope is tried with besides (JUDGE=control.py of test-kernels): the same switches of the kernel's
own, thrown through tracefs, without gilscope and without BPF. A kernel that dies of these, or a machine that emulates it, is not
gilscope's to mend. Environment: TURNS (1000), how often each is switched on and off.
"""
import os
import re
import subprocess
import sys

from judging import check, main, read, the_kernel_has_no_complaint
from observe import Failed, expect, expect_equal

TRACING = "/sys/kernel/tracing/"
TURNS = int(os.environ.get("TURNS", "1000"))
BUSY = "import threading, time\nfor _ in range(3): threading.Thread(target=lambda: [time.sleep(.0002) for _ in iter(int, 1)]).start()"
LIBC = re.search(r"/\S+/libc\.so\.6", read("/proc/self/maps"))[0]


def write(name, text):
    """Not by Python's own file: tracefs wants each command whole."""
    fd = os.open(TRACING + name, os.O_WRONLY | os.O_APPEND)
    try:
        os.write(fd, text.encode())
    except OSError as why:
        raise Failed("%s: %s: %s (%s)" % (name, text.strip(), why, read(TRACING + "error_log")[-300:])) from None
    finally:
        os.close(fd)


class Busy:
    """Two programs whose threads sleep and wake up all the time."""

    def __enter__(self):
        self.processes = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(2)]
        return self

    def __exit__(self, *_):
        for process in self.processes:
            process.kill()
            process.wait()


def switch(name):
    with Busy():
        for turn in range(TURNS):
            write(name, "1")
            write(name, "0")
            if turn % 100 == 99: # a panic leaves no other trace of how far it came
                print("%d times on and off" % (turn + 1), flush=True)
    expect_equal(read(TRACING + name), "0", name)
    return "on and off %d times" % TURNS


@check("switch")
def sched_switch_is_switched_on_and_off():
    """Its switch is in __schedule(), which every processor runs: a breakpoint stands there while it is rewritten."""
    return switch("events/sched/sched_switch/enable")


@check("uprobe")
def a_uprobe_is_switched_on_and_off():
    symbols = subprocess.run(["readelf", "--dyn-syms", "--wide", LIBC], capture_output=True, text=True, check=True).stdout
    address = next((line.split()[1] for line in symbols.splitlines() if line.endswith(" clock_nanosleep@@GLIBC_2.17")), None)
    expect(address, "no clock_nanosleep in %s" % LIBC)
    write("uprobe_events", "p:control/nap %s:0x%s\n" % (LIBC, address)) # where the file's text is as far from its begin as in memory
    try:
        return switch("events/control/nap/enable")
    finally:
        write("uprobe_events", "-:control/nap\n")


check("dmesg")(the_kernel_has_no_complaint)
main(sys.argv[1:])
