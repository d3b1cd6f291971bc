# SPDX-License-Identifier: GPL-2.0-only
"""usage: names.py

Threads with names of all kinds, and what may happen to names. Says `ready PID`, then answers each line with a
line of JSON: {"threads": [[native id, name], ...]}.

    list            nothing happens
    main=NAME       the main thread has a new name
    rename          the thread "plain" becomes "renamed"
    many            200 threads more: "many-0" and so on
    attributes      every Thread gets an attribute more, and its dict is looked at
    greenlets       threading knows its main thread, and one that is none, by addresses of objects, as gevent makes it
    replace         sys.modules["threading"] becomes something else
    delete          it is not there
    restore         it is as before
"""
import json
import os
import sys
import threading
import time

NAMES = ["plain", "w\u00f6rker-\u00e4", "\u03b1\u03b2\u03b3", "\U0001f40d snake", "x" * 300, "e\033[31mred\033[0m", "a|b c",
         "right\u202eleft", "y" * 10240]


def idle():
    while True:
        time.sleep(3600)


class Special(threading.Thread):
    """A class of its own, with attributes before and behind those of Thread."""
    def __init__(self, name):
        self.early = 1
        super().__init__(name=name, daemon=True)
        self.late = 2

    def run(self):
        idle()


class Slotted(Special):
    __slots__ = ("one", "two")


def start(name):
    thread = threading.Thread(target=idle, name=name, daemon=True)
    thread.start()
    return thread


def attributes():
    for number, thread in enumerate(threading.enumerate()):
        setattr(thread, "attribute_%d" % number, number)
        assert thread.__dict__["_name"] == thread.name


def greenlets():
    main, active = threading.main_thread(), threading._active
    del active[main.ident]
    main._ident = id(main)
    active[main.ident] = main
    threading.get_ident = lambda: main.ident
    active[id(active)] = threading.Thread(target=idle, name="no thread at all")


class Impostor:
    _active = {threading.get_ident(): 1}


def act(word):
    if word.startswith("main="):
        threading.main_thread().name = word[5:]
    elif word == "rename":
        threads[0].name = "renamed"
    elif word == "many":
        threads.extend(start("many-%d" % number) for number in range(200))
    elif word == "attributes":
        attributes()
    elif word == "greenlets":
        greenlets()
    elif word == "replace":
        sys.modules["threading"] = Impostor
    elif word == "delete":
        sys.modules.pop("threading", None)
    elif word == "restore":
        sys.modules["threading"] = threading


def say(line):
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


threads = [start(name) for name in NAMES]
for kind in (Special, Slotted):
    threads.append(kind(kind.__name__.lower()))
    threads[-1].start()
say("ready %d" % os.getpid())
for command in sys.stdin:
    if command.strip() == "quit":
        break
    act(command.strip())
    say(json.dumps({"threads": [[thread.native_id, thread.name] for thread in threading.enumerate() if thread.native_id]}))
sys.stdout.flush()
os._exit(0)  # threading, if it was tampered with, would wait for ever
