# SPDX-License-Identifier: GPL-2.0-only
"""As much of Grafana and its Redis data source as a dashboard's queries meet, written down from how they behave: variables
are put into the text, the text is split as a shell would, the reply becomes one field of rows. And a connection."""
import json
import os
import re
import socket

TREE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
DASHBOARDS = os.path.join(TREE, "dashboards")
NAMES = ("overview", "process", "thread")
EMPTY = "(empty array)"

# $name, [[name]], ${name} and ${name:format}
REFERENCE = re.compile(r"\$(\w+)|\[\[(\w+?)(?::\w+)?\]\]|\$\{(\w+)(?:\.[^:^}]+)?(?::[^}]+)?\}")


# Steps that Grafana rounds to, in ms, and from where on the next one is taken (@grafana/data, rangeUtil.roundInterval).
STEPS = ((10, 1), (15, 10), (35, 20), (75, 50), (150, 100), (350, 200), (750, 500), (1500, 1000), (3500, 2000), (7500, 5000),
         (12500, 10000), (17500, 15000), (25000, 20000), (45000, 30000), (90000, 60000), (210000, 120000), (450000, 300000),
         (750000, 600000), (1050000, 900000), (1500000, 1200000), (2700000, 1800000), (5400000, 3600000))


def load(name, variant=""):
    """A dashboard; a panel that shows another one's rows has that one as its "source"."""
    with open(os.path.join(DASHBOARDS, variant, "gilscope-%s.json" % name), encoding="utf-8") as f:
        dashboard = json.load(f)
    by_id = {p["id"]: p for p in dashboard["panels"]}
    for panel in dashboard["panels"]:
        if panel["datasource"]["uid"] == "-- Dashboard --":
            panel["source"] = by_id[panel["targets"][0]["panelId"]]
    return dashboard


def asking(panel):
    """The panel whose queries bring its rows."""
    return panel.get("source", panel)


def panels(dashboard):
    return [p for p in dashboard["panels"] if p["type"] != "row"]


def expand(text, values):
    """Unknown names stay as they are."""
    def value(m):
        name = m.group(1) or m.group(2) or m.group(3)
        return str(values[name]) if name in values else m.group(0)
    return REFERENCE.sub(value, text)


def interval_ms(panel, start, end):
    """What $__interval_ms is in a panel: its range cut into as many points as it takes, rounded; up to a day's range."""
    exact = (end - start) / panel.get("maxDataPoints", 1000)
    return next(step for limit, step in STEPS if exact < limit)


def words(panel, target, values):
    """The command that one of a panel's queries sends, as a list of words."""
    values = dict(values, __interval_ms=interval_ms(panel, values["__from"], values["__to"]))
    if target["query"]:
        return split(expand(target["query"], values))
    return [target["command"], expand(target["keyName"], values)]


def commands(panel, values):
    """All of a panel, which the data source sends one after the other."""
    return [words(asking(panel), target, values) for target in asking(panel)["targets"]]


class Error(Exception):
    """An error reply, or what the data source makes of a query that it does not understand."""


def split(text):
    """Words as the plugin's splitter finds them: blanks are space, tab and newline; a backslash before a newline takes it away."""
    found, word, quote, at = [], None, "", 0
    while at < len(text):
        c, following = text[at], text[at + 1:at + 2]
        at += 1
        if c == "\\" and quote != "'":
            if not following:
                raise Error("query is not valid")
            at += 1
            if following != "\n":
                word = (word or "") + (c if quote and following not in "\"\\" else "") + following
        elif c == quote:
            quote = ""
        elif c in "'\"" and not quote:
            quote, word = c, word or ""
        elif c in " \t\n" and not quote:
            found += [] if word is None else [word]
            word = None
        else:
            word = (word or "") + c
    if quote:
        raise Error("query is not valid")
    return found + ([] if word is None else [word])


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

    def ask_bytes(self, *args):
        """A reply that is a string of any bytes."""
        return self.ask(*args).encode("utf-8", "surrogateescape")

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
    """Strings of an array, flat. Fails as a whole where an element is an error."""
    if isinstance(reply, list):
        return [leaf for element in reply for leaf in (leaves(element) or [EMPTY])]
    if isinstance(reply, Error):
        raise reply
    return ["" if reply is None else shown(str(reply))]


def shown(text):
    """What is no UTF-8 shows as U+FFFD."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


# What Go's strconv.ParseFloat takes.
SPECIAL = re.compile(r"[+-]?inf(inity)?|nan", re.I | re.A)
DECIMAL = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.I | re.A)
HEXADECIMAL = re.compile(r"[+-]?0x([0-9a-f]+\.?[0-9a-f]*|\.[0-9a-f]+)p[+-]?\d+", re.I | re.A)


def number(text):
    """The text, where it is no number or too large for one."""
    try:
        if SPECIAL.fullmatch(text):
            return float(text)
        value = float.fromhex(text) if HEXADECIMAL.fullmatch(text) else float(text) if DECIMAL.fullmatch(text) else text
        return text if value in (float("inf"), float("-inf")) else value
    except OverflowError:
        return text


def frame(target, reply):
    """Fields of the frame that the data source makes of a reply: {name: [values]}."""
    if target["command"] == "hgetall":
        return {shown(reply[i]): [number(shown(reply[i + 1]))] for i in range(0, len(reply), 2)}
    if isinstance(reply, list):
        return {"Value": leaves(reply) or [EMPTY]}
    if isinstance(reply, int):
        return {"Value": [reply]}
    lines = leaves(reply)[0].replace("\r\n", "\n").split("\n")
    return {"Value": [number(lines[0])] if len(lines) == 1 else lines}


def has_nil(reply):
    return reply is None or isinstance(reply, list) and any(has_nil(element) for element in reply)


def frames(panel, connection, values):
    """What a panel gets: a frame for each of its queries, none for one of blanks. No query of ours is answered by nil."""
    found = []
    for target in asking(panel)["targets"]:
        command = words(asking(panel), target, values)
        reply = connection.ask(*command) if command else []
        if has_nil(reply):
            raise Error("nil in the answer to %s" % command)
        found += [frame(target, reply)] if command else []
    return found


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
        reply = connection.ask(*split(expand(variable["query"], values)))
        offered = [value for value, _ in options(variable["regex"], leaves(reply) or [EMPTY])]
        chosen = [value for value in offered if value in wanted] or offered
        values[variable["name"]] = chosen[0] if chosen else ""
    return values
