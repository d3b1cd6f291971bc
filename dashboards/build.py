#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Writes the dashboards: what they say stands here, what Grafana wants around it is added.

usage: build.py [DIRECTORY]      default: where this file is

DIRECTORY/gilscope-*.json call the function library (lua/gilscope.lua); DIRECTORY/eval/gilscope-*.json are the same with
the functions' text in each query, for servers that know no functions or forbid them. The files are committed; a test
compares them with what this writes.

Rules that the Redis data source imposes: queries are raw commands ("cli"), each variable in quotes; the first
transformation keeps what is a row, and not the "(empty array)" that stands for none; fields are kept by name, so that
what a later gilscope adds to a sample adds no line to a picture.
"""
import json
import os
import re
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
PREFIX = "gil:"
SOURCE = {"type": "redis-datasource", "uid": "${DS}"}
GAP_MS = 65000  # longer than a step of the coarsest tier
US, SHARE = "\u00b5s", "percentunit"
NOTHING = "Nothing was stored in this time range."

# ---- queries ------------------------------------------------------------------------------------------


def key(what):
    return '"%s{${proc}}:%s"' % (PREFIX, what)


def rows(what):
    """All rows of a sorted set in the time range."""
    return "ZRANGE %s $__from $__to BYSCORE LIMIT 0 20000" % key(what)


def call(function, what, *args):
    return "FCALL_RO %s 1 %s %s" % (function, key(what), " ".join(args))


# What the panels of the process's samples draw: they share one query.
SAMPLE = ("d,util,util_est,waiters,cpu,cost,lost,cov,wait_p50,wait_p99,wait_max,hold_p50,hold_p99,hold_max,"
          "on_cpu,asleep,no_cpu,unseen,stopped")
POINTS = 300  # of a line over half a screen; Grafana rounds steps, and makes up to 525 of them
BARS = 160
THREADS = 32  # as many as a wide row has

STEPS = ("$__from", "$__to", "$__interval_ms")  # the interval follows the panel's maxDataPoints

PIECES = 4  # of a range that is too much for one call; 24 h then


DAYS = 7  # that samples are kept: a piece for each


def in_pieces(function, what, *args, pieces=PIECES):
    """One query for each piece of the time range: each keeps the server for a part of the time only."""
    return [call(function, what, *args, "%d/%d" % (i, pieces)) for i in range(1, pieces + 1)]


# The finest tier that still has the range of a thread and does not make thousands of rows of it. An EVAL, so that the pictures
# that need no functions do without the library. No apostrophe may stand in it.
TIER = """
local base, from = string.sub(KEYS[1], 1, -5), tonumber(ARGV[1])
local meta = redis.call("HMGET", KEYS[1], "keep_thread_s", "last_ms")
local tiers, steps, i = {"1s", "10s", "60s"}, {1000, 10000, 60000}, 0
for seconds in string.gmatch(meta[1] or "", "%d+") do
  i = i + 1
  if i < 3 and ARGV[2] - from <= 3700 * steps[i] and from >= (tonumber(meta[2] or nil) or 0) - seconds * 1000 - steps[i]
    and redis.call("EXISTS", base .. "hold:" .. tiers[i], base .. "wait:" .. tiers[i]) > 0 then
    return {tiers[i]}
  end
end
return {"60s"}
"""

# The same for the rows of all processes, which are kept 24 h at 10 s.
TIER_OF_ALL = """
local from, now = tonumber(ARGV[1]), redis.call("TIME")[1] * 1000
local first = redis.call("ZRANGE", KEYS[1], 0, 0, "WITHSCORES")[2]
if ARGV[2] - from <= 7200000 and first and (from >= tonumber(first) or from >= now - 86400000) then return {"10s"} end
return {"60s"}
"""


def inline(script):
    return " ".join(line.strip() for line in script.strip().split("\n"))


# ---- variables ----------------------------------------------------------------------------------------


def variable(name, label, query, regex="", hide=0):
    return {
        "name": name, "label": label, "type": "query", "datasource": SOURCE, "query": query, "definition": query,
        "regex": regex, "refresh": 2, "sort": 0, "hide": hide, "multi": False, "includeAll": False, "options": [],
        "current": {}, "skipUrlSync": hide == 2,
    }


DATA_SOURCE = {
    "name": "DS", "label": "Redis", "type": "datasource", "query": "redis-datasource", "refresh": 1, "regex": "",
    "hide": 0, "multi": False, "includeAll": False, "options": [], "current": {},
}
PROCESS = variable("proc", "Process", "ZRANGE %smenu +inf -inf BYSCORE REV LIMIT 0 500" % PREFIX,
                   r"/^(?<value>[^|]+)\|(?<text>.+)$/")
THREAD = variable("thread", "Thread", "ZRANGE %s +inf -inf BYSCORE REV LIMIT 0 500" % key("threads"),
                  r"/^(?<text>(?<value>[^|]+)\|.*)$/")


TIER_OF_THREAD = variable("ttier", "", "EVAL_RO '%s' 1 %s $__from $__to" % (inline(TIER), key("meta")), r"/^(1s|10s|60s)$/", 2)
TIER_ALL = variable("tier", "", "EVAL_RO '%s' 1 %sall:10s $__from $__to" % (inline(TIER_OF_ALL), PREFIX),
                    r"/^(10s|60s)$/", 2)

# ---- transformations ----------------------------------------------------------------------------------

# Rows are kept, not the other one dropped: of several frames, Grafana gives all the length of the first when it drops.
ROWS = {"id": "filterByValue", "options": {"type": "include", "match": "any", "filters": [
    {"fieldName": "Value", "config": {"id": "regex", "options": {"value": "^\\{"}}}]}}
EXTRACT = {"id": "extractFields", "options": {"source": "Value", "format": "json", "replace": True, "keepTime": False}}
TO_TIME = {"id": "convertFieldType", "options": {"fields": {}, "conversions": [
    {"targetField": "t", "destinationType": "time"}]}}


def keep(names):
    return {"id": "filterFieldsByName", "options": {"include": {"names": list(names)}}}


def rename(names):
    """Order and names of the fields, from pairs."""
    names = dict(names)
    return {"id": "organize", "options": {
        "excludeByName": {}, "indexByName": {n: i for i, n in enumerate(names)},
        "renameByName": {a: b for a, b in names.items() if a != b}}}


def ratio(left, right, alias):
    return {"id": "calculateField", "options": {
        "mode": "binary", "alias": alias, "replaceFields": False,
        "binary": {"left": left, "operator": "/", "right": right}}}


MERGE = {"id": "merge", "options": {}}


def series(names, *calculated):
    """A time series of some fields of JSON rows, of one query or of the pieces of a range; `calculated` may make fields out of them
    first."""
    names = dict([("t", "Time")] + list(names.items()))
    sources = {c["options"]["binary"][side] for c in calculated for side in ("left", "right")}
    plain = [n for n in names if n not in {c["options"]["alias"] for c in calculated}]
    steps = [ROWS, EXTRACT, keep(plain + sorted(sources - set(plain))), MERGE, TO_TIME] + list(calculated)
    if calculated:
        steps.append(keep(names))
    return steps + [rename(names)]


def columns(names):
    """Rows of a table."""
    return [ROWS, EXTRACT, keep(names), rename(names)]


def added_up(what, sums, most):
    """The pieces of a range together: rows that agree in `what` become one, the `most` with the largest first sum stay.
    The piece's number keeps equal rows of two pieces apart until they are added up."""
    by = dict({n: {"operation": "groupby", "aggregations": []} for n in what},
              **{n: {"operation": "aggregate", "aggregations": ["sum"]} for n in sums})
    return [ROWS, EXTRACT, keep(["piece"] + list(what) + list(sums)), MERGE,
            {"id": "groupBy", "options": {"fields": by}},
            {"id": "sortBy", "options": {"fields": {}, "sort": [{"field": "%s (sum)" % sums[0], "desc": True}]}},
            {"id": "limit", "options": {"limitField": most}}]


WIDE = [ROWS, EXTRACT, TO_TIME]  # every field is a thread

# ---- panels -------------------------------------------------------------------------------------------


def thresholds(*steps):
    return {"mode": "absolute", "steps": [{"color": c, "value": v} for c, v in steps]}


BUSY = thresholds(("green", None), ("orange", 0.7), ("red", 0.9))
QUEUE = thresholds(("green", None), ("orange", 1), ("red", 3))
WAITED = thresholds(("green", None), ("orange", 20000), ("red", 50000))
HELD = thresholds(("green", None), ("orange", 10000), ("red", 100000))
LOST = thresholds(("green", None), ("red", 1))
COVERED = thresholds(("red", None), ("orange", 0.9), ("green", 0.999))
LONG_ONES = thresholds(("orange", None), ("red", 1000000))
PLAIN = thresholds(("green", None))


class Rows(str):
    """In place of a query: the rows that the panel of this title has asked for, before its transformations."""


# Grafana's own data source for that.
DASHBOARD = {"type": "datasource", "uid": "-- Dashboard --"}


def panel(kind, title, about, size, query, steps, defaults, options, overrides=(), nothing=NOTHING, target=None):
    source = DASHBOARD if isinstance(query, Rows) else SOURCE
    if source is DASHBOARD:
        # place() puts its number there.
        targets = [{"refId": "A", "datasource": source, "panelId": query, "withTransforms": False}]
    else:
        queries = query if isinstance(query, list) else [query]
        targets = [dict({"refId": ref, "datasource": source, "type": "cli", "command": "", "query": q}, **target or {})
                   for ref, q in zip("ABCDEFGH", queries)]
    return {
        "type": kind, "title": title, "description": about, "datasource": source, "size": size,
        "targets": targets, "transformations": list(steps),
        "fieldConfig": {"defaults": dict(defaults, noValue=nothing), "overrides": list(overrides)}, "options": options,
    }


def field(name, **properties):
    return {"matcher": {"id": "byName", "options": name},
            "properties": [{"id": k.replace("__", "."), "value": v} for k, v in properties.items()]}


def lines(title, about, size, query, steps, unit, limits=PLAIN, top=None, style="line", gaps=True, log=False,
          overrides=(), area=False, stack=False, points=None):
    custom = {
        "drawStyle": style, "lineWidth": 0 if style == "bars" else 1, "fillOpacity": 80 if stack else 10,
        "showPoints": "never" if style == "bars" else "auto", "spanNulls": False, "insertNulls": GAP_MS if gaps else False,
        "stacking": {"mode": "normal" if stack else "none", "group": "A"},
        "scaleDistribution": {"type": "log", "log": 10} if log else {"type": "linear"},
        "thresholdsStyle": {"mode": "area" if area else "off"},
    }
    defaults = {"unit": unit, "thresholds": limits, "color": {"mode": "palette-classic-by-name"}, "custom": custom}
    if not log:
        defaults["min"] = 0
    if top is not None:
        defaults["max"] = top
    options = {
        "legend": {"displayMode": "table", "placement": "bottom", "showLegend": True, "calcs": ["mean", "max", "lastNotNull"],
                   "sortBy": "Mean", "sortDesc": True},
        "tooltip": {"mode": "multi", "sort": "desc"},
    }
    made = panel("timeseries", title, about, size, query, steps, defaults, options, overrides)
    if style == "bars":
        custom.update(barAlignment=-1, barWidthFactor=1)  # a stamp is the end of its interval; one follows the other
    if points:
        made["maxDataPoints"] = points
    return made


def stats(title, about, size, query, steps, overrides, nothing=NOTHING, target=None):
    return panel("stat", title, about, size, query, steps, {"thresholds": PLAIN, "color": {"mode": "thresholds"}}, {
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "/.*/", "values": False}, "colorMode": "value",
        "graphMode": "none", "textMode": "value_and_name", "orientation": "auto", "justifyMode": "auto",
        "text": {"titleSize": 14, "valueSize": 32},
    }, overrides, nothing, target)


# Else a cell without a value would show the text for a table without rows.
UNKNOWN_CELL = {"matcher": {"id": "byRegexp", "options": "/.*/"}, "properties": [{"id": "noValue", "value": "-"}]}


def table(title, about, size, query, steps, overrides=(), nothing=NOTHING):
    return panel("table", title, about, size, query, steps, {
        "thresholds": PLAIN, "color": {"mode": "thresholds"}, "custom": {"align": "auto", "filterable": True}}, {
            "showHeader": True, "cellHeight": "sm", "footer": {"show": False}}, [UNKNOWN_CELL] + list(overrides), nothing)


def heat_map(title, about, size, query):
    made = panel("heatmap", title, about, size, query, WIDE, {"custom": {"scaleDistribution": {"type": "linear"}}}, {
        "calculate": False, "cellGap": 1, "cellValues": {"unit": "short"}, "filterValues": {"le": 1e-9},
        "rowsFrame": {"layout": "le"}, "showValue": "never", "legend": {"show": True},
        "color": {"mode": "scheme", "scheme": "Oranges", "steps": 64, "exponent": 0.5, "fill": "dark-orange",
                  "scale": "exponential", "reverse": False},
        "yAxis": {"axisPlacement": "left", "unit": "s", "reverse": False},
        "tooltip": {"mode": "single", "yHistogram": True, "showColorScale": False},
    })
    made["maxDataPoints"] = 120  # columns: $__interval_ms follows
    return made


def row(title):
    return {"type": "row", "title": title, "collapsed": False, "panels": [], "size": (24, 1)}


def link(title, uid, variable_name, field_name):
    url = "/d/%s?${DS:queryparam}&%svar-%s=${__data.fields[\"%s\"]}&${__url_time_range}" % (
        uid, "" if variable_name == "proc" else "${proc:queryparam}&", variable_name, field_name)
    return [{"title": title, "url": url, "targetBlank": False}]


GAUGE = {"type": "gauge", "mode": "basic"}
TO_THREAD = link("This thread", "gilscope-thread", "thread", "TID")

# Fields of a sample, as people read them.
NAMES = {
    "util": "GIL busy", "util_est": "GIL busy, about", "waiters": "Threads waiting", "wait_p50": "Wait p50", "wait_p99": "Wait p99", "wait_max": "Longest wait",
    "hold_p50": "Hold p50", "hold_p99": "Hold p99", "hold_max": "Longest hold", "threads": "Threads", "cost": "Cost",
    "lost": "Lost", "cov": "Observed", "n": "Acquires", "c": "Contended", "forced": "Forced", "hold": "Held", "wait": "Waited",
}
SHOWN = {
    "util": dict(unit=SHARE, decimals=1, thresholds=BUSY), "util_est": dict(unit=SHARE, decimals=0, thresholds=BUSY), "waiters": dict(unit="none", decimals=2, thresholds=QUEUE),
    "wait_p50": dict(unit=US), "wait_p99": dict(unit=US, thresholds=WAITED), "wait_max": dict(unit=US, thresholds=WAITED),
    "hold_p50": dict(unit=US), "hold_p99": dict(unit=US, thresholds=HELD), "hold_max": dict(unit=US, thresholds=HELD),
    "threads": dict(unit="none"), "lost": dict(unit="none", thresholds=LOST),
    "cov": dict(unit=SHARE, decimals=1, thresholds=COVERED), "n": dict(unit="short"), "c": dict(unit="short"),
    "forced": dict(unit="short"), "hold": dict(unit=US), "wait": dict(unit=US),
}


def named(*fields):
    return {f: NAMES[f] for f in fields}


def shown(*fields):
    return [field(NAMES[f], **SHOWN[f]) for f in fields]


# ---- the three dashboards -----------------------------------------------------------------------------

ALL = "ZRANGE \"%sall:${tier}\" $__from $__to BYSCORE LIMIT 0 20000" % PREFIX


def of_all(title, about, name, unit, limits, query=Rows("GIL busy"), **more):
    """One line per process."""
    steps = [ROWS, EXTRACT, keep(["t", "id", "label", name]), TO_TIME, {"id": "partitionByValues", "options": {
        "fields": ["label", "id"], "keepFields": False, "naming": {"asLabels": True}}}]
    made = lines(title, about, (24, 8), query, steps, unit, limits, **more)
    made["fieldConfig"]["defaults"]["displayName"] = "${__field.labels.label} ${__field.labels.id}"
    return made


def overview():
    aggregated = {
        "label": ["lastNotNull"], "util": ["mean", "max"], "waiters": ["mean"], "wait_p99": ["max"], "wait_max": ["max"],
        "hold_max": ["max"], "lost": ["sum"], "cov": ["min"],
    }
    group = {"id": {"operation": "groupby", "aggregations": []}}
    group.update({n: {"operation": "aggregate", "aggregations": a} for n, a in aggregated.items()})
    names = {
        "label (lastNotNull)": "Process", "util (mean)": "GIL busy", "util (max)": "Busiest", "waiters (mean)": "Threads waiting",
        "wait_p99 (max)": "Worst wait p99", "wait_max (max)": "Longest wait", "hold_max (max)": "Longest hold",
        "lost (sum)": "Lost", "cov (min)": "Observed", "id": "id",
    }
    number = {"reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False}, "colorMode": "value",
              "graphMode": "none", "textMode": "value", "orientation": "auto", "justifyMode": "auto"}

    def single(title, about, query, unit, limits, nothing="No process was observed in the last half minute."):
        return panel("stat", title, about, (8, 4), query, [], {
            "unit": unit, "thresholds": limits, "color": {"mode": "thresholds"}}, number, (), nothing)

    return "overview", "gilscope: overview", [DATA_SOURCE, TIER_ALL], [
        single("Busiest GIL now", "The largest share of time in which some thread held the GIL, of all processes observed in the "
               "last 30 s. Below 70 % there is room; near 100 % that process is bound by the GIL.",
               "FCALL_RO gil_worst 1 %sall:10s util 30" % PREFIX, SHARE, BUSY),
        single("Worst wait p99 now", "The largest 99th percentile of waits for the GIL, of all processes observed in the last 30 s. "
               "A few milliseconds are normal where threads compute (the switch interval is 5 ms); above 50 ms requests feel it.",
               "FCALL_RO gil_worst 1 %sall:10s wait_p99 30" % PREFIX, US, WAITED),
        single("Processes", "Processes observed in the time range. Normal: those that gilscope is attached to.", "ZCOUNT %sprocs $__from +inf" % PREFIX, "none", PLAIN, "0"),
        of_all("GIL busy", "Share of the observed time in which some thread held the GIL. Normal: below 70 %. Near 100 %: that "
               "process can't use another core for Python code. No line: not observed.", "util", SHARE, BUSY, ALL, top=1, area=True),
        of_all("Threads waiting", "How many threads queued for the GIL, on average. Normal: well below one. Each full unit is one "
               "thread that does nothing but wait.", "waiters", "none", QUEUE),
        of_all("Wait p99", "99th percentile of the waits for the GIL in each interval; waits still going on count at their age "
               "so far. Normal: below the switch interval (5 ms) times the threads that compute.", "wait_p99", US, WAITED,
               log=True),
        table("Processes in this range", "All processes observed in the time range. Click one for its dashboard. Lost: events that "
              "gilscope missed, which should be 0. Observed below 100 %: the numbers are of that part of the time.", (24, 10),
              Rows("GIL busy"), [ROWS, EXTRACT, keep(["id"] + list(aggregated)), {"id": "groupBy", "options": {"fields": group}},
                    rename(names)],
              [field("Process", links=link("Open", "gilscope-process", "proc", "id")),
               field("GIL busy", unit=SHARE, decimals=1, thresholds=BUSY, min=0, max=1, custom__cellOptions=GAUGE),
               field("Busiest", unit=SHARE, decimals=1), field("Threads waiting", decimals=2), field("Worst wait p99", unit=US),
               field("Longest wait", unit=US), field("Longest hold", unit=US), field("Observed", unit=SHARE)]),
    ]


def percentiles(kind, query):
    said = {"wait": ("Waits", "How long threads waited for the GIL: median, 99th percentile and longest of each interval; only "
                     "acquires that waited count. Normal: below a few switch intervals (5 ms each)."),
            "hold": ("Holds", "How long the GIL was held at a time: median, 99th percentile and longest of each interval. Normal: up "
                     "to 5 ms, when pure Python lets go if asked; longer holds are C code that does not release the GIL.")}[kind]
    return lines(said[0], said[1] + " What still goes on counts at its age so far.", (12, 8), query,
                 series(named(kind + "_p50", kind + "_p99", kind + "_max")), US, gaps=False, log=True)


PAIRS = {"victim": "Who waited", "holder": "For whom", "wait (sum)": "Waited"}
NOBODY = "Nobody waited in this time range."


def pairs(title, about, size, sides, *of):
    steps = added_up(sides, ["wait"], 50)
    return table(title, about, size, in_pieces("gil_blame", "blame", "$__from", "$__to", "5000", *of), steps + [
        rename({n: PAIRS[n] for n in list(sides) + ["wait (sum)"]})],
        [field("Waited", unit=US, min=0, custom__cellOptions=GAUGE, color={"mode": "continuous-reds"})], NOBODY)


def matrix(title, about, size):
    steps = added_up(["victim", "holder"], ["wait"], 150) + [
        {"id": "groupingToMatrix", "options": {"columnField": "holder", "rowField": "victim", "valueField": "wait (sum)",
                                               "emptyValue": "null"}}, rename({"victim\\holder": "Who waited"})]
    return table(title, about, size, Rows("Who made whom wait"), steps, [
        {"matcher": {"id": "byType", "options": "number"}, "properties": [
            {"id": "unit", "value": US}, {"id": "color", "value": {"mode": "continuous-reds"}},
            {"id": "custom.cellOptions", "value": {"type": "color-background", "mode": "basic"}}]},
        field("Who waited", custom__width=140)], NOBODY)


STACKS = ("Holds of 5 ms and more are asked for their code (attach --stacks TIME; 0: each that made somebody wait); not with "
          "--stacks off, nor in light mode.")
CODE = {"name": "Thread", "thread": "TID", "function": "Function", "file": "File", "line": "Line",
        "blame (sum)": "Others waited", "hold (sum)": "Held", "wait (sum)": "Waited"}


def guilty(title, about, size, *of):
    places = ["name", "thread", "function", "file", "line"]
    skip = places[:2] if of else []
    steps = added_up([p for p in places if p not in skip], ["blame", "hold", "wait"], 50)
    return table(title, about, size, in_pieces("gil_code", "code", "$__from", "$__to", "5000", "blame", *of), steps + [
        rename({n: v for n, v in CODE.items() if n not in skip})],
        [field("Thread", links=TO_THREAD, custom__width=130), field("TID", custom__width=90), field("Function", custom__width=240),
         field("Line", unit="none", custom__width=70), field("Held", unit=US, custom__width=100),
         field("Others waited", unit=US, min=0, custom__cellOptions=GAUGE, color={"mode": "continuous-reds"}, custom__width=300),
         field("Waited", unit=US, custom__width=100)],
        "No code that made others wait was seen in this time range. " + STACKS)


LONG = {"t": "Time", "kind": "What", "name": "Thread", "thr": "TID", "us": "Duration", "open": "State", "others": "Others waited",
        "function": "Function", "file": "File", "line": "Line", "stack": "Stack"}


def long_ones(title, about, size, query, skip=()):
    names = {n: v for n, v in LONG.items() if n not in skip}
    return table(title, about, size, query, [ROWS, EXTRACT, keep(names), TO_TIME, rename(names)], [
        field("Thread", links=TO_THREAD, custom__width=110), field("TID", custom__width=80), field("What", custom__width=60),
        field("Duration", unit=US, thresholds=LONG_ONES, custom__cellOptions={"type": "color-text"}, custom__width=90),
        field("Others waited", unit=US, custom__width=110), field("Function", custom__width=140), field("Time", custom__width=190),
        field("Line", unit="none", custom__width=60), field("State", custom__width=80, mappings=[
            {"type": "value", "options": {"true": {"text": "went on", "index": 0}}}]),
        field("Stack", custom__inspect=True)],
        "None in this time range. Recorded are holds of 100 ms and more (attach --alert-hold TIME) and, with --alert-wait TIME, "
        "waits; nothing with --stacks off.")


def shares(title, about, what):
    return lines(title, about, (12, 9), call("gil_wide", what, *STEPS, str(THREADS)), WIDE, SHARE, style="bars", stack=True, gaps=False,
                 points=BARS)


def process():
    samples = Rows("GIL busy")
    last = named("util", "util_est", "waiters", "wait_p99", "hold_max", "threads", "lost")
    whole = named("util", "util_est", "waiters", "wait_p50", "wait_p99", "wait_max", "hold_p99", "hold_max", "lost", "cov")
    threads = {"name": "Thread", "thread": "TID", "hold_share": "Holds", "wait_share": "Waits", "hold": "Held", "wait": "Waited",
               "n": "Acquires", "c": "Contended", "forced": "Forced", "hold_blocked": "Held asleep",
               "hold_preempted": "Held, no CPU", "wait_max": "Longest wait", "hold_max": "Longest hold"}
    return "process", "gilscope: process", [DATA_SOURCE, PROCESS], [
        stats("Now", "The newest sample. GIL busy near 100 % with threads waiting: bound by the GIL. Lost should be 0.", (24, 4), "",
              [keep(last), rename(last)], shown(*last), "Not observed at the moment.",
              {"type": "command", "command": "hgetall", "keyName": "%s{${proc}}:last" % PREFIX}),
        stats("In this range", "The whole time range as one: percentiles are merged from histograms (off by a ninth at most), maxima "
              "are exact. Observed below 100 %: the rest of the time is unknown, not idle.", (24, 4),
              call("gil_rows", "p", "$__from", "$__to"), columns(whole), shown(*whole)),
        lines("GIL busy", "Share of the observed time in which some thread held the GIL. Below 70 % there is room; near 100 % more "
              "threads bring nothing. No line: not observed. \"About\": an estimate of light or look mode.", (12, 8),
              in_pieces("gil_rows", "p", *STEPS, SAMPLE, pieces=DAYS), series(named("util", "util_est")), SHARE, BUSY, top=1, area=True, gaps=False, points=POINTS),
        lines("Threads waiting", "How many threads queued for the GIL, on average. Normal: well below one. Each full unit is one "
              "thread that does nothing but wait.", (12, 8), samples, series(named("waiters")), "none", QUEUE, gaps=False),
        shares("Who holds the GIL", "Share of the time that each thread held it: the 32 busiest of the range, the rest in "
               "\"other\". Normal: free space above; together at most 100 %. One wide band is the thread to look at.", "hold"),
        shares("Who waits for it", "Share of the time that each thread waited for the GIL, stacked: 300 % are three threads that do "
               "nothing but wait. Normal: a few per cent in all.", "wait"),
        percentiles("wait", samples),
        percentiles("hold", samples),
        table("Threads", "Exact totals in the time range, the threads that held most first. Click one for its dashboard. Normal: "
              "nobody far ahead. Many waits with few holds: a victim; forced: releases that a waiter asked for; held asleep, "
              "without a CPU: nobody could run.",
              (24, 9),
              call("gil_top", "t", "$__from", "$__to", "50"), columns(threads),
              [field("Thread", links=TO_THREAD),
               field("Holds", unit=SHARE, decimals=1, min=0, max=1, thresholds=BUSY, custom__cellOptions=GAUGE),
               field("Waits", unit=SHARE, decimals=1, min=0, max=1, thresholds=BUSY, custom__cellOptions=GAUGE),
               field("Held", unit=US), field("Waited", unit=US), field("Held asleep", unit=US),
               field("Held, no CPU", unit=US), field("Longest wait", unit=US), field("Longest hold", unit=US)]),
        pairs("Who made whom wait", "The largest pairs. A thread's wait is charged to whoever held the GIL meanwhile; (nobody) is "
              "the time between a release and the next acquire. Normal: small and evenly spread.", (12, 10), ["victim", "holder"]),
        matrix("Waiting threads by holder", "Rows waited, columns held the GIL meanwhile, microseconds; the 150 largest pairs, the "
               "largest at the top left. Normal: pale. A dark column is a thread that blocks many; a dark cell a pair that gets in each other's "
               "way.", (12, 10)),
        guilty("Code that makes others wait", "The lines of Python that others waited for the longest, and how long they held the "
               "GIL. Normal: an even mix. One line on top that dwarfs the others is what to change. " + STACKS, (24, 9)),
        long_ones("Long holds and waits", "Single holds and waits over their thresholds, the newest first: while they last (went on) "
                  "and when they have ended. Normal: none. Others waited: summed over all that did meanwhile.", (24, 9),
                  "ZRANGE %s $__to $__from BYSCORE REV LIMIT 0 200" % key("long")),
        heat_map("Waits by length", "How many waits of which length ended when; the scale is logarithmic. Normal: one band below "
                 "5 ms. A second band higher up is a thread that does not let go.", (12, 9),
                 call("gil_heatmap", "p", "$__from", "$__to", "$__interval_ms", "wait")),
        lines("What the holder did", "Share of the observed time in which the GIL was held by a thread that ran, that slept (a system "
              "call, a page fault), or that could run but had no CPU. Normal: on a CPU. Asleep: somebody blocks without letting go. "
              "Without a CPU: the machine or a limit is short of them. Stopped: by a tracer or a signal. Not known: light mode, or "
              "--no-off-cpu.", (12, 9),
              samples,
              series({"on_cpu": "On a CPU", "asleep": "Asleep", "no_cpu": "Without a CPU", "stopped": "Stopped",
                      "unseen": "Not known"}), SHARE, top=1,
              gaps=False, stack=True, overrides=[field(n, color={"mode": "fixed", "fixedColor": c}) for n, c in (
                  ("On a CPU", "green"), ("Asleep", "orange"), ("Without a CPU", "red"), ("Stopped", "purple"),
                  ("Not known", "text"))]),
        lines("Own cost and CPU", "Cores that the process used, and of them gilscope's probes (an estimate). Normal cost: below "
              "0.02 cores.", (12, 8), samples,
              series({"cpu_cores": "CPU", "cost_cores": "gilscope"}, ratio("cpu", "d", "cpu_cores"),
                     ratio("cost", "d", "cost_cores")), "none", gaps=False),
        lines("Observed, and what was lost", "Observed: share of each interval that was seen (right: 100 %). Lost: events and "
              "violations of the expected order, which should be 0; meta names their kinds.", (12, 8), samples,
              series(named("cov", "lost")), "none", gaps=False, overrides=[
                  field("Observed", unit=SHARE, max=1, custom__axisPlacement="right"), field("Lost", custom__drawStyle="bars")]),
    ]


def thread():
    whole = named("hold", "wait", "n", "c", "forced", "wait_p50", "wait_p99", "wait_max", "hold_p99", "hold_max")
    mine, samples = "t:${thread}", Rows("Holds and waits")
    return "thread", "gilscope: thread", [DATA_SOURCE, PROCESS, THREAD, TIER_OF_THREAD], [
        stats("In this range", "Totals of this thread in the time range. Percentiles merged from histograms, maxima exact. Normal: less "
              "waited than held. A victim has much waiting and few holds.", (24, 4), call("gil_rows", mine, "$__from", "$__to"), columns(whole),
              shown(*whole), "This thread did nothing in this time range."),
        lines("Holds and waits", "Share of the time that this thread held the GIL and waited for it. What is missing from 100 % it "
              "spent without Python: I/O, sleep, C code. Normal: waits below holds. Idle stretches are "
              "lines at zero.", (24, 8), rows(mine + ":${ttier}"),
              series({"held": "Holds", "waited": "Waits"}, ratio("hold", "d", "held"), ratio("wait", "d", "waited")), SHARE,
              gaps=False),
        percentiles("wait", samples),
        percentiles("hold", samples),
        heat_map("Waits by length", "How many waits of which length ended when. Normal: below 5 ms. Kept in steps of 10 s and more.",
                 (12, 9), call("gil_heatmap", mine, "$__from", "$__to", "$__interval_ms", "wait")),
        heat_map("Holds by length", "How many holds of which length ended when. Normal: up to 5 ms. Longer ones are C code that keeps it.",
                 (12, 9), call("gil_heatmap", mine, "$__from", "$__to", "$__interval_ms", "hold")),
        pairs("Who blocks it", "Who held the GIL while this thread waited. Normal: nobody stands out.", (12, 9), ["holder"], "victim", '"${thread}"'),
        pairs("Whom it blocks", "Who waited while this thread held the GIL. Normal: nobody for long.", (12, 9), ["victim"], "holder", '"${thread}"'),
        guilty("Its code that makes others wait", "The lines of Python of this thread that others waited for the longest. Normal: "
               "none that stands out. " + STACKS, (24, 8), '"${thread}"'),
        long_ones("Its long holds and waits", "Its single holds and waits over their thresholds, the newest first. Normal: "
                  "none.", (24, 8),
                  call("gil_long", "long", "$__from", "$__to", "200", '"${thread}"'), ("name", "thr")),
        lines("Acquires", "How often it took the GIL, how often it had to wait for it, and was asked to let go, per interval of "
              "the history (1 s, 10 s or 60 s). Normal: most do not wait.", (24, 8), samples, series(named("n", "c", "forced")), "short",
              gaps=False),
    ]


# ---- around them --------------------------------------------------------------------------------------


def place(panels):
    """Left to right, then down; ids in order."""
    x = y = height = 0
    for i, p in enumerate(panels, 1):
        w, h = p.pop("size")
        if x + w > 24:
            x, y, height = 0, y + height, 0
        p["id"], p["gridPos"] = i, {"x": x, "y": y, "w": w, "h": h}
        x, height = x + w, max(height, h)
    ids = {p["title"]: p["id"] for p in panels}
    for target in [t for p in panels for t in p["targets"] if "panelId" in t]:
        target["panelId"] = ids[target["panelId"]]
    return panels


def dashboard(name, title, variables, panels):
    return {
        "uid": "gilscope-" + name, "title": title, "tags": ["gilscope"], "schemaVersion": 39, "version": 1, "editable": True,
        "description": "Who holds the GIL, who waits for it, and for whom. Made by dashboards/build.py of gilscope.",
        "graphTooltip": 1, "refresh": "10s", "time": {"from": "now-15m", "to": "now"}, "timezone": "browser",
        "timepicker": {}, "annotations": {"list": []}, "templating": {"list": variables}, "panels": place(panels),
        "links": [{"type": "dashboards", "title": "gilscope", "tags": ["gilscope"], "asDropdown": False, "includeVars": True,
                   "keepTime": True, "targetBlank": False, "icon": "external link", "tooltip": "", "url": ""}],
    }


# ---- functions as scripts -----------------------------------------------------------------------------

TOKEN = re.compile(r"""--[^\n]*|'(?:\\.|[^'\\\n])*'|"(?:\\.|[^"\\\n])*"|\n|[^\n'"-]+|-""")


def without_apostrophes(lua):
    """Strings in double quotes, no comments: what may stand between the apostrophes of a query."""
    out = []
    for token in TOKEN.findall(lua):
        if token.startswith("--"):
            continue
        if token.startswith("'"):
            token = '"%s"' % token[1:-1].replace('"', '\\"')
        out.append(token)
    return "".join(out)


def chunks(lua):
    """Top-level statements: (names that they define, text)."""
    found = []
    for text in re.split(r"\n(?=local |redis\.)", lua):
        head = re.match(r"local function (\w+)|local ([\w, ]+?)(?: =|\n|$)", text)
        names = re.findall(r"\w+", head.group(1) or head.group(2)) if head else []
        found.append((names, re.sub(r"\s*\n\s*", " ", text).strip()))
    return [c for c in found if c[0]]


def script(function, lua):
    """The library, as far as `function` needs it, as the text of an EVAL."""
    callback = re.search(r"'%s', callback = ([^,]+(?:\(\w+\))?)," % function, lua).group(1)
    body = "return %s(KEYS, ARGV)" % callback
    all_chunks, wanted = chunks(without_apostrophes(lua)), body
    kept = []
    for names, text in reversed(all_chunks):
        if any(re.search(r"\b%s\b" % n, wanted) for n in names):
            kept.insert(0, text)
            wanted += " " + text
    return " ".join(kept + [body])


def as_eval(made, lua):
    """The same dashboard with each function's text in place of its name."""
    copy = json.loads(json.dumps(made))
    copy["uid"] += "-eval"
    copy["title"] += " (EVAL)"
    copy["tags"] = ["gilscope-eval"]
    copy["links"][0]["tags"] = ["gilscope-eval"]
    text = json.dumps(copy).replace("/d/gilscope-process?", "/d/gilscope-process-eval?")
    copy = json.loads(text.replace("/d/gilscope-thread?", "/d/gilscope-thread-eval?"))
    for p in copy["panels"]:
        for target in p.get("targets", ()):
            called = re.match(r"FCALL_RO (\w+) ", target.get("query", ""))
            if called:
                target["query"] = "EVAL_RO '%s' %s" % (script(called.group(1), lua), target["query"][called.end():])
    return copy


def write(path, made):
    with open(path, "w", encoding="utf-8") as f:
        json.dump(made, f, indent=1, ensure_ascii=False)
        f.write("\n")


def main():
    directory = sys.argv[1] if len(sys.argv) > 1 else HERE
    with open(os.path.join(HERE, "lua", "gilscope.lua"), encoding="utf-8") as f:
        lua = f.read()
    os.makedirs(os.path.join(directory, "eval"), exist_ok=True)
    for one in (overview, process, thread):
        made = dashboard(*one())
        write(os.path.join(directory, "gilscope-%s.json" % one.__name__), made)
        write(os.path.join(directory, "eval", "gilscope-%s.json" % one.__name__), as_eval(made, lua))


if __name__ == "__main__":
    main()
