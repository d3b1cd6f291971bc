# SPDX-License-Identifier: GPL-2.0-only
"""What can be said of the dashboards without running anything: unittest, run by the integration suite."""
import os
import re
import subprocess
import sys
import tempfile
import unittest

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import grafana  # noqa: E402

SHARED = {"type": "datasource", "uid": "-- Dashboard --"}
FILES = [(name, variant) for variant in ("", "eval") for name in grafana.NAMES]
PANELS = {"timeseries", "stat", "table", "heatmap"}
# Options that each transformation knows. One that Grafana does not know is passed over without a word.
TRANSFORMATIONS = {
    "filterByValue": {"type", "match", "filters"}, "extractFields": {"source", "format", "replace", "keepTime"},
    "filterFieldsByName": {"include"}, "convertFieldType": {"fields", "conversions"},
    "organize": {"excludeByName", "indexByName", "renameByName"}, "groupBy": {"fields"},
    "partitionByValues": {"fields", "keepFields", "naming"}, "calculateField": {"mode", "alias", "replaceFields", "binary"},
    "merge": set(), "sortBy": {"fields", "sort"}, "limit": {"limitField"},
    "groupingToMatrix": {"columnField", "rowField", "valueField", "emptyValue"},
}
BUILT_IN = {"__from", "__to", "__interval_ms", "__url_time_range", "__data", "__field"}
# What a function library's key names beyond the keys themselves: a series without its tier.
SERIES = {"gil:{<id>}:p", "gil:{<id>}:t", "gil:{<id>}:t:<thr>", "gil:{<id>}:blame", "gil:{<id>}:hold", "gil:{<id>}:wait",
          "gil:{<id>}:code"}
FUNCTION_FIELDS = {"id", "label", "name", "thread", "hold_share", "wait_share", "victim", "victim_thread", "holder",
                   "holder_thread", "share", "p50", "p90", "p99", "p999", "max", "piece", "function", "file", "line", "blame"}
# Of answers that are no samples, with their units; and of `long`.
ANSWERED = {"on_cpu": "ratio", "asleep": "ratio", "no_cpu": "ratio", "unseen": "ratio", "stopped": "ratio"}
LONG_FIELDS = {"kind", "thr", "us", "open", "others", "stack"}


def read(*path):
    with open(os.path.join(grafana.TREE, *path), encoding="utf-8") as f:
        return f.read()


def strings(value):
    """Every text in a JSON value."""
    if isinstance(value, str):
        yield value
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from strings(inner)


def known_keys():
    """Keys of the documented schema, with its placeholders."""
    part = read("collector", "schema", "README.md").split("\n## ")[0]
    keys = set(SERIES)
    for line in part.split("\n"):
        names = re.findall(r"`([^`]+)`", line.split("|")[1]) if line.startswith("| `gil:") else []
        first = names[0] if names else ""
        for name in names:
            # `:wait:<tier>` stands for the last two words of the first key, `:last` for its last one.
            keys.add(name if name.startswith("gil:") else first.rsplit(":", name.count(":"))[0] + name)
    return keys


def schema_fields():
    return dict(re.findall(r'X\(\w+, "(\w+)", "(\w+)"', read("collector", "schema", "schema.h")))


class Model(unittest.TestCase):
    """What grafana.py says of the data source, where no dashboard comes near it."""
    def test_texts_become_numbers_as_go_reads_them(self):
        for text, value in (("1", 1.0), ("-2.5e3", -2500.0), (".5", 0.5), ("0x1p4", 16.0), ("1e999", "1e999"), (" 1", " 1"), ("1_0", "1_0"),
                            ("0x10", "0x10"), ("Inf", float("inf")), ("", ""), ("\u0661", "\u0661")):
            self.assertEqual(grafana.number(text), value, text)
        self.assertNotEqual(grafana.number("nan"), grafana.number("nan"))

    def test_replies_become_fields(self):
        for reply, value in (([None, 1, [], [[]]], ["", "1", grafana.EMPTY, grafana.EMPTY]), ([], [grafana.EMPTY]), (None, [""]), (7, [7]),
                             ("1\r\n2", ["1", "2"]), ("1", [1.0]), ("\udcff", ["\ufffd"]), (["\udcff"], ["\ufffd"])):
            self.assertEqual(grafana.frame({"command": ""}, reply), {"Value": value}, repr(reply))
        self.assertRaises(grafana.Error, grafana.frame, {"command": ""}, [1, [grafana.Error("ERR x")]])

    def test_blanks_ask_nothing_and_nil_is_no_answer_to_ours(self):
        class Nil:
            def ask(self, *_):
                return [None]
        panel = {"targets": [{"query": " \t ", "command": ""}]}
        values = {"__from": 0, "__to": 1000}
        self.assertEqual(grafana.frames(panel, Nil(), values), [])
        panel["targets"][0]["query"] = "ZRANGE x 0 1"
        self.assertRaises(grafana.Error, grafana.frames, panel, Nil(), values)

    def test_queries_are_split_into_words(self):
        for text, words in (("a\rb c", ["a\rb", "c"]), ("a\\\nb", ["ab"]), ("'a\\b'", ["a\\b"]), ('"a\\b\\"c\\\\"', ['a\\b"c\\']), ("''", [""]),
                            ("a\\ b", ["a b"]), (" \t\n", [])):
            self.assertEqual(grafana.split(text), words, repr(text))
        for text in ("'a", '"a', "a\\"):
            self.assertRaises(grafana.Error, grafana.split, text)


class Static(unittest.TestCase):
    where = ""

    def _formatMessage(self, msg, standard):
        return "%s: %s" % (self.where, super()._formatMessage(msg, standard))

    def each(self):
        for name, variant in FILES:
            self.where = os.path.join(variant, name)
            yield grafana.load(name, variant)

    def each_panel(self):
        for dashboard in self.each():
            for panel in grafana.panels(dashboard):
                self.where = "%s, panel %s" % (dashboard["uid"], panel["title"])
                yield dashboard, panel

    def each_query(self):
        """(dashboard, query) of panels and variables."""
        for dashboard in self.each():
            for variable in dashboard["templating"]["list"]:
                if variable["type"] == "query":
                    yield dashboard, variable["query"]
            for panel in grafana.panels(dashboard):
                for target in panel["targets"]:
                    if target.get("query"):
                        yield dashboard, target["query"]

    def test_files_are_what_the_generator_writes(self):
        with tempfile.TemporaryDirectory() as directory:
            subprocess.run([sys.executable, "-B", os.path.join(grafana.DASHBOARDS, "build.py"), directory], check=True)
            for name, variant in FILES:
                path = os.path.join(variant, "gilscope-%s.json" % name)
                with open(os.path.join(directory, path), encoding="utf-8") as f:
                    self.assertEqual(f.read(), read("dashboards", path), "%s: run dashboards/build.py" % path)

    def test_uids_and_ids_are_unique(self):
        # Links and bookmarks of others refer to them.
        self.assertEqual([d["uid"] for d in self.each()], [
            "gilscope-overview", "gilscope-process", "gilscope-thread", "gilscope-overview-eval", "gilscope-process-eval",
            "gilscope-thread-eval"])
        for dashboard in self.each():
            ids = [p["id"] for p in dashboard["panels"]]
            self.assertEqual(len(ids), len(set(ids)))

    def test_panels_lie_side_by_side(self):
        for dashboard in self.each():
            taken = {}
            for panel in dashboard["panels"]:
                at = panel["gridPos"]
                self.assertLessEqual(at["x"] + at["w"], 24)
                for x in range(at["x"], at["x"] + at["w"]):
                    for y in range(at["y"], at["y"] + at["h"]):
                        self.assertNotIn((x, y), taken, panel["title"])
                        taken[x, y] = panel["id"]

    def test_panels_explain_themselves(self):
        for _, panel in self.each_panel():
            defaults = panel["fieldConfig"]["defaults"]
            self.assertIn(panel["type"], PANELS)
            self.assertGreater(len(panel["description"]), 20)
            self.assertRegex(panel["description"], "(?i)normal|should be|below")
            self.assertTrue(defaults["noValue"])
            self.assertIn(panel["datasource"], ({"type": "redis-datasource", "uid": "${DS}"}, SHARED))
            if panel["type"] == "timeseries":
                self.assertTrue(defaults["unit"])
                self.assertEqual(defaults["color"]["mode"], "palette-classic-by-name")
            if panel["type"] != "heatmap":
                self.assertTrue(defaults["thresholds"]["steps"])

    def test_targets_are_raw_commands_or_a_hash(self):
        for _, panel in self.each_panel():
            for target in panel["targets"]:
                self.assertNotIn("streaming", target)
                self.assertEqual(target["datasource"], panel["datasource"])
                if target["datasource"] == SHARED:
                    self.assertEqual(set(target), {"refId", "datasource", "panelId", "withTransforms"})
                elif target["type"] == "cli":
                    self.assertTrue(target["query"])
                    self.assertEqual(target["command"], "")
                    self.assertLessEqual(set(target), {"refId", "datasource", "type", "command", "query"})
                else:
                    self.assertEqual((target["command"], target["query"]), ("hgetall", ""))
                    self.assertLessEqual(set(target), {"refId", "datasource", "type", "command", "query", "keyName"})

    def test_shared_rows_are_those_of_a_panel_that_asks(self):
        shared = 0
        for dashboard, panel in self.each_panel():
            if panel["datasource"] != SHARED:
                continue
            target, = panel["targets"]
            source = [p for p in grafana.panels(dashboard) if p["id"] == target["panelId"]]
            self.assertEqual(len(source), 1)
            self.assertNotEqual(source[0]["datasource"], SHARED, "rows can be handed on once")
            self.assertIs(target["withTransforms"], False)
            self.assertNotIn("maxDataPoints", panel, "the other one's counts")
            shared += 1
        self.assertGreater(shared, 20)

    def test_no_two_panels_send_the_same_query(self):
        for dashboard in self.each():
            sent = [t["query"] for p in grafana.panels(dashboard) for t in p["targets"] if t.get("query")]
            self.assertEqual(len(sent), len(set(sent)))

    def test_who_asks_by_steps_says_how_many(self):
        """Grafana takes a panel's width without; and 500 pixels for one that is not in sight, of which another shows the rows."""
        for _, panel in self.each_panel():
            if any("$__interval_ms" in t.get("query", "") for t in panel["targets"]):
                self.assertLessEqual(panel["maxDataPoints"], 300)

    def test_transformations_are_known_with_their_options(self):
        for _, panel in self.each_panel():
            for step in panel["transformations"]:
                self.assertIn(step["id"], TRANSFORMATIONS)
                self.assertEqual(set(step["options"]), TRANSFORMATIONS[step["id"]])

    def test_rows_lose_the_mark_of_an_empty_reply_first(self):
        for _, panel in self.each_panel():
            query = grafana.asking(panel)["targets"][0]["query"]
            steps = [s["id"] for s in panel["transformations"]]
            if steps and query:
                self.assertEqual(steps[:2], ["filterByValue", "extractFields"])
                first = panel["transformations"][0]["options"]
                kept = first["filters"][0]["config"]
                self.assertEqual((first["type"], kept["id"]), ("include", "regex"))
                self.assertRegex('{"t":1}', kept["options"]["value"])
                self.assertNotRegex(grafana.EMPTY, kept["options"]["value"])

    def test_variables_are_defined_and_used(self):
        for dashboard in self.each():
            defined = {v["name"] for v in dashboard["templating"]["list"]}
            used = {a or b or c for text in strings(dashboard) for a, b, c in grafana.REFERENCE.findall(text)}
            self.assertLessEqual(used, defined | BUILT_IN)
            self.assertLessEqual(defined, used)

    def test_variables_come_after_what_they_need(self):
        for dashboard in self.each():
            known = set(BUILT_IN)
            for v in dashboard["templating"]["list"]:
                if v["type"] == "query":
                    self.assertLessEqual({a or b or c for a, b, c in grafana.REFERENCE.findall(v["query"])}, known)
                known.add(v["name"])

    def test_queries_split_alike_whatever_a_variable_holds(self):
        for dashboard, query in self.each_query():
            names = {v["name"] for v in dashboard["templating"]["list"]}
            plain = dict({n: "x" for n in names}, __from=1, __to=2, __interval_ms=3)
            odd = dict(plain, **{n: "a b;c $(d) [e]" for n in names})
            self.assertEqual(len(grafana.split(grafana.expand(query, plain))), len(grafana.split(grafana.expand(query, odd))))
            self.assertNotIn("$", " ".join(grafana.split(grafana.expand(query, plain))[2:]))

    def test_commands_only_read(self):
        for _, query in self.each_query():
            self.assertIn(query.split()[0], {"ZRANGE", "ZCOUNT", "FCALL_RO", "EVAL_RO"})

    def test_functions_exist_and_get_one_key(self):
        library = read("dashboards", "lua", "gilscope.lua")
        for _, query in self.each_query():
            command = grafana.split(query)
            if command[0] in ("FCALL_RO", "EVAL_RO"):
                self.assertEqual(command[2], "1")
            if command[0] == "FCALL_RO":
                self.assertIn("function_name = '%s'" % command[1], library)

    def test_alerts_ask_for_one_number_without_variables(self):
        rules = read("dashboards", "provisioning", "alerting", "gilscope.yaml")
        queries = re.findall(r'query: "([^"]+)"', rules) + re.findall(r"redis-cli (FCALL_RO [^#\n]+?)  +above", rules)
        self.assertEqual(len(queries), 4)
        for query in queries:
            self.assertRegex(query, r"^FCALL_RO gil_(worst|lasting) 1 gil:all:10s \w+ \d+$")
            self.assertIn(query.split()[4], schema_fields())

    def test_source_of_alerts_is_the_provisioned_one(self):
        uid = re.search(r"uid: (\S+)", read("dashboards", "provisioning", "datasources", "gilscope.yaml")).group(1)
        alerts = read("dashboards", "provisioning", "alerting", "gilscope.yaml")
        self.assertEqual(set(re.findall(r"datasourceUid: (\S+)", alerts)), {uid, "__expr__"})
        self.assertIn("uid: %s\n" % uid, read("dashboards", "compose", "datasource.yaml"))

    def test_keys_are_in_the_schema(self):
        place = {"<tier>": "(1s|10s|60s)", "<thr>": "4250", "<id>": "web1:1:00000001", "<n>": "0"}
        patterns = []
        for name in known_keys():
            pattern = re.escape(name)
            for mark, value in place.items():
                pattern = pattern.replace(re.escape(mark), value)
            patterns.append(pattern)
        known = re.compile("^(%s)$" % "|".join(patterns))
        values = {"proc": "web1:1:00000001", "thread": "4250", "ttier": "10s", "tier": "60s"}
        seen = set()
        for dashboard in self.each():
            texts = [v["query"] for v in dashboard["templating"]["list"] if v["type"] == "query"]
            for panel in grafana.panels(dashboard):
                texts += [t["query"] or "HGETALL " + t["keyName"] for t in grafana.asking(panel)["targets"]]
            for text in texts:
                command = grafana.split(grafana.expand(text, values))
                name = command[3] if command[0] in ("FCALL_RO", "EVAL_RO") else command[1]
                self.assertRegex(name, known)
                seen.add(name)
        self.assertGreater(len(seen), 12)

    def test_fields_are_in_the_schema_with_their_units(self):
        units = dict(schema_fields(), **ANSWERED)
        for _, panel in self.each_panel():
            wanted = [s["options"]["include"]["names"] for s in panel["transformations"] if s["id"] == "filterFieldsByName"]
            if not wanted:
                continue
            self.assertLessEqual(set(wanted[0]), set(units) | FUNCTION_FIELDS | LONG_FIELDS)
            if panel["type"] == "timeseries" and len(wanted) == 1:
                unit = panel["fieldConfig"]["defaults"]["unit"]
                for name in set(wanted[0]) - {"t", "id", "label"}:
                    self.assertEqual(unit == "\u00b5s", units[name] == "us", name)

    def test_columns_of_times_say_their_unit(self):
        units = dict(schema_fields(), us="us", others="us", blame="us")
        seen = 0
        for _, panel in self.each_panel():
            shown = [s["options"] for s in panel["transformations"] if s["id"] == "organize"]
            if panel["type"] not in ("stat", "table") or not shown:
                continue
            said = {o["matcher"]["options"]: [p["value"] for p in o["properties"] if p["id"] == "unit"]
                    for o in panel["fieldConfig"]["overrides"]}
            for name in shown[0]["indexByName"]:
                if units.get(re.sub(r" \(\w+\)$", "", name)) == "us":
                    self.assertEqual(said[shown[0]["renameByName"].get(name, name)], ["\u00b5s"], name)
                    seen += 1
        self.assertGreater(seen, 50)

    def test_links_keep_time_and_variables(self):
        data_links = 0
        for dashboard in self.each():
            self.assertTrue(dashboard["links"][0]["keepTime"] and dashboard["links"][0]["includeVars"])
            for panel in grafana.panels(dashboard):
                for override in panel["fieldConfig"]["overrides"]:
                    for link in [li for p in override["properties"] if p["id"] == "links" for li in p["value"]]:
                        shown = [s["options"] for s in panel["transformations"] if s["id"] == "organize"][-1]
                        names = {shown["renameByName"].get(n, n) for n in shown["indexByName"]}
                        self.assertIn("${__url_time_range}", link["url"])
                        self.assertIn("${DS:queryparam}", link["url"])
                        self.assertEqual("var-thread" in link["url"], "${proc:queryparam}" in link["url"])
                        if override["matcher"]["options"] in names:
                            self.assertLessEqual(set(re.findall(r'__data\.fields\["([^"]+)"\]', link["url"])), names)
                            data_links += 1
        self.assertGreaterEqual(data_links, 8)

    def test_links_lead_to_dashboards(self):
        uids = {d["uid"] for d in self.each()}
        tags = {t for d in self.each() for t in d["tags"]}
        for dashboard in self.each():
            for text in strings(dashboard):
                for uid in re.findall(r"/d/([\w-]+)", text):
                    self.assertIn(uid, uids)
                    self.assertEqual(uid.endswith("-eval"), dashboard["uid"].endswith("-eval"))
            self.assertLessEqual(set(dashboard["links"][0]["tags"]), tags)

    def test_scripts_may_stand_between_apostrophes(self):
        for _, query in self.each_query():
            if query.startswith("EVAL_RO"):
                script = query.split("'")[1]
                self.assertIsNone(grafana.REFERENCE.search(script), script)
                self.assertNotIn("\n", script)

    def test_variants_differ_in_the_commands_only(self):
        for name in grafana.NAMES:
            one, other = grafana.load(name), grafana.load(name, "eval")
            self.assertEqual([(p["title"], p["gridPos"], p["transformations"]) for p in one["panels"]],
                             [(p["title"], p["gridPos"], p["transformations"]) for p in other["panels"]])
            self.assertFalse([t for t in strings(other) if "FCALL" in t])


if __name__ == "__main__":
    unittest.main()
