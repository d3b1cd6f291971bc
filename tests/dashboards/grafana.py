# SPDX-License-Identifier: GPL-2.0-only
"""As much of Grafana and its Redis data source as a dashboard's queries meet, written down from how they behave: variables
are put into the text, the text is split as a shell would, the reply becomes one field of rows. And a connection."""
import json
import os
import re
import shlex
import socket

TREE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
DASHBOARDS = os.path.join(TREE, "dashboards")
NAMES = ("overview", "process", "thread")
EMPTY = "(empty array)"

# $name, [[name]], ${name} and ${name:format}
REFERENCE = re.compile(r"\$(\w+)|\[\[(\w+?)(?::\w+)?\]\]|\$\{(\w+)(?:\.[^:^}]+)?(?::[^}]+)?\}")


def load(name, variant=""):
    with open(os.path.join(DASHBOARDS, variant, "gilscope-%s.json" % name), encoding="utf-8") as f:
        return json.load(f)


def panels(dashboard):
    return [p for p in dashboard["panels"] if p["type"] != "row"]


def expand(text, values):
    """Unknown names stay as they are."""
    def value(m):
        name = m.group(1) or m.group(2) or m.group(3)
        return str(values[name]) if name in values else m.group(0)
    return REFERENCE.sub(value, text)


def interval_ms(panel, start, end):
    """What $__interval_ms is in a panel, but for the rounding: its range cut into as many points as it takes."""
    return max(1000, (end - start) // panel.get("maxDataPoints", 1000))


def words(panel, target, values):
    """The command that one of a panel's queries sends, as a list of words."""
    values = dict(values, __interval_ms=interval_ms(panel, values["__from"], values["__to"]))
    if target["query"]:
        return shlex.split(expand(target["query"], values), posix=True)
    return [target["command"], expand(target["keyName"], values)]


def commands(panel, values):
    """All of a panel, which the data source sends one after the other."""
    return [words(panel, target, values) for target in panel["targets"]]


class Error(Exception):
    """An error reply."""


class Connection:
    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(30)
        self.socket.connect(path)
        self.file = self.socket.makefile("rb")

    def ask(self, *args):
        data = [a if isinstance(a, bytes) else str(a).encode() for a in args]
        self.socket.sendall(b"*%d\r\n" % len(data) + b"".join(b"$%d\r\n%s\r\n" % (len(d), d) for d in data))
        reply = self.read()
        if isinstance(reply, Error):
            raise reply
        return reply

    def read(self):
        line = self.file.readline()[:-2]
        kind, rest = line[:1], line[1:]
        if kind == b"+":
            return rest.decode()
        if kind == b"-":
            return Error(rest.decode())
        if kind == b":":
            return int(rest)
        if kind == b"$":
            return None if rest == b"-1" else self.file.read(int(rest) + 2)[:-2].decode("utf-8", "surrogateescape")
        if kind == b"*":
            return None if rest == b"-1" else [self.read() for _ in range(int(rest))]
        raise Error("not Redis: %r" % line)


def leaves(reply):
    if isinstance(reply, list):
        return [leaf for element in reply for leaf in leaves(element)]
    return ["" if reply is None else str(reply)]


def number(text):
    try:
        return float(text)
    except ValueError:
        return text


def frame(target, reply):
    """Fields of the frame that the data source makes of a reply: {name: [values]}."""
    if target["command"] == "hgetall":
        return {reply[i]: [number(reply[i + 1])] for i in range(0, len(reply), 2)}
    if isinstance(reply, list):
        return {"Value": leaves(reply) or [EMPTY]}
    if isinstance(reply, str):
        return {"Value": [number(line) for line in reply.split("\n")]}
    return {"Value": [reply]}


def frames(panel, connection, values):
    """What a panel gets: a frame for each of its queries."""
    return [frame(target, connection.ask(*words(panel, target, values))) for target in panel["targets"]]


def options(regex, rows):
    """What a query variable offers: (value, text) out of its rows."""
    if not regex:
        return [(r, r) for r in rows if r != EMPTY]
    # JavaScript spells named groups otherwise.
    pattern = re.compile(re.sub(r"\(\?<(\w+)>", r"(?P<\1>", regex.strip("/")))
    found = []
    for r in rows:
        m = pattern.search(r)
        if m:
            groups = m.groupdict()
            found.append((groups.get("value", m.group(1)), groups.get("text", m.group(1))))
    return found


def resolve(dashboard, connection, values, wanted=()):
    """Variables in their order, each with its first option, or with the one of `wanted` that it has."""
    values = dict(values)
    for variable in dashboard["templating"]["list"]:
        if variable["type"] != "query":
            continue
        reply = connection.ask(*shlex.split(expand(variable["query"], values), posix=True))
        offered = [value for value, _ in options(variable["regex"], leaves(reply) or [EMPTY])]
        chosen = [value for value in offered if value in wanted] or offered
        values[variable["name"]] = chosen[0] if chosen else ""
    return values
