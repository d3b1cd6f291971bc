# SPDX-License-Identifier: GPL-2.0-only
"""usage: keeps_back.py file PATH | fault

A process that keeps back a page of its own memory: one that lies in the middle of what an observer reads, and that the program
itself never touches again, the text of a thread's name. Says `ready PID`; after each line that it hears it does one thing, and says
`done`:

    go        the page is replaced: by one of the file PATH, which whoever serves that file does not give (`file`), or by one that
              somebody would have to fill in (userfaultfd), and nobody does (`fault`)
    back      the page is there: filled with zeros
    call      does nothing, which proves that the program runs
"""
import ctypes
import mmap
import os
import platform
import struct
import sys
import threading
import time

import workload

PAGE = mmap.PAGESIZE
PROT_READ_WRITE, MAP_PRIVATE, MAP_FIXED, MAP_ANONYMOUS = 3, 2, 16, 32
SYS_USERFAULTFD = {"x86_64": 323, "aarch64": 282}[platform.machine()]
UFFDIO_API, UFFDIO_REGISTER, UFFDIO_ZEROPAGE = 0xc018aa3f, 0xc020aa00, 0xc020aa04
UFFD_API, REGISTER_MISSING = 0xaa, 1

libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]


def replace(page, flags, fd):
    if libc.mmap(page, PAGE, PROT_READ_WRITE, MAP_PRIVATE | MAP_FIXED | flags, fd, 0) != page:
        raise OSError(ctypes.get_errno(), "mmap")


def ask(fd, request, *words):
    words = (ctypes.c_uint64 * len(words))(*words)
    if libc.ioctl(ctypes.c_int(fd), ctypes.c_ulong(request), words):
        raise OSError(ctypes.get_errno(), "userfaultfd")


class File:
    def __init__(self, path):
        self.fd = os.open(path, os.O_RDONLY)

    def keep_back(self, page):
        replace(page, 0, self.fd)

    def give(self, page):
        replace(page, MAP_ANONYMOUS, -1)


class Fault:
    def __init__(self):
        self.fd = libc.syscall(ctypes.c_long(SYS_USERFAULTFD), ctypes.c_long(os.O_CLOEXEC))
        if self.fd < 0:
            raise OSError(ctypes.get_errno(), "userfaultfd")
        ask(self.fd, UFFDIO_API, UFFD_API, 0, 0)

    def keep_back(self, page):
        replace(page, MAP_ANONYMOUS, -1)
        ask(self.fd, UFFDIO_REGISTER, page, PAGE, REGISTER_MISSING, 0)

    def give(self, page):
        ask(self.fd, UFFDIO_ZEROPAGE, page, PAGE, 0, 0)


def work():
    while True:
        time.sleep(0.001)


# So long that the C library gives it pages of its own.
name = "n" * (1 << 20)
kept = File(sys.argv[2]) if sys.argv[1] == "file" else Fault()
page = id(name) & ~(PAGE - 1)
thread = threading.Thread(target=work, daemon=True)
thread.start()
thread._name = name
workload.ready()
for line in sys.stdin:
    word = line.strip()
    if word == "go":
        kept.keep_back(page)
    elif word == "back":
        kept.give(page)
    elif word == "quit":
        break
    workload.say("done")
workload.leave()
