# SPDX-License-Identifier: GPL-2.0-only
"""Every query of both variants of the dashboards, sent by the parts that Grafana's Redis data source is made of (plugin/main.go), in
every way to a server that provisioning/datasources/gilscope.yaml proposes, as it stands there; what comes back must be what a plain
connection gets.

usage: plugin.py CLIENT HISTORY     CLIENT: the program of plugin/main.go; HISTORY: keys and queries that queries.py has left
"""
import base64
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import unittest

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import grafana  # noqa: E402

CLIENT = sys.argv[1]
with open(sys.argv[2], encoding="utf-8") as f:
    HISTORY = json.load(f)
SETTINGS = os.path.join(grafana.DASHBOARDS, "provisioning", "datasources", "gilscope.yaml")
USERS = os.path.join(grafana.DASHBOARDS, "redis", "users.acl")
PASSWORD = "CHANGE-ME-READER"
SLOTS = 16384


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


# ---- servers ----

class Server:
    """A redis-server of this test's own, on a loopback port and a unix socket."""
    def __init__(self, *options, users=True, config=None):
        self.dir, self.port = tempfile.mkdtemp(prefix="gilscope-plugin-"), free_port()
        self.socket = os.path.join(self.dir, "sock")
        command = ["redis-server"] + ([config] if config else []) + [
            "--port", str(self.port), "--unixsocket", self.socket, "--dir", self.dir, "--save", "",
            "--logfile", os.path.join(self.dir, "log")] + (["--aclfile", USERS] if users else []) + list(options)
        self.process = subprocess.Popen(command)
        self.connection = self.connect()

    def connect(self):
        for _ in range(600):
            try:
                connection = grafana.Connection(self.socket)
                connection.ask("PING")
                return connection
            except (OSError, grafana.Error):
                time.sleep(0.1)
        raise TimeoutError("redis-server does not answer")

    def restore(self, has=lambda key: True):
        self.connection.ask("FUNCTION", "RESTORE", base64.b64decode(HISTORY["functions"]), "REPLACE")
        for key, value in HISTORY["keys"].items():
            if has(key):
                self.connection.ask("RESTORE", key, 0, base64.b64decode(value), "REPLACE")

    def stop(self):
        self.process.kill()
        self.process.wait()
        shutil.rmtree(self.dir)


def start_cluster():
    """Three masters with a third of the slots each."""
    nodes = [Server("--cluster-enabled", "yes", "--cluster-port", str(free_port())) for _ in range(3)]
    for i, node in enumerate(nodes):
        node.connection.ask("CLUSTER", "ADDSLOTSRANGE", i * SLOTS // 3, (i + 1) * SLOTS // 3 - 1)
        bus = nodes[0].connection.ask("CONFIG", "GET", "cluster-port")[1]
        node.connection.ask("CLUSTER", "MEET", "127.0.0.1", nodes[0].port, bus)
    for node in nodes:
        while "cluster_state:ok" not in node.connection.ask("CLUSTER", "INFO") or \
                len(node.connection.ask("CLUSTER", "SLOTS")) < 3:
            time.sleep(0.1)
    for i, node in enumerate(nodes):
        node.restore(lambda key, i=i, node=node: node.connection.ask("CLUSTER", "KEYSLOT", key) * 3 // SLOTS == i)
    return nodes


def start_sentinel(master):
    config = os.path.join(master.dir, "sentinel.conf")
    with open(config, "w", encoding="utf-8") as f:
        f.write("sentinel monitor mymaster 127.0.0.1 %d 1\n" % master.port)
    return Server("--sentinel", config=config, users=False)


def make_certificates(directory):
    subprocess.run(["sh", "-euc", """
        openssl req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.crt -days 2 -subj /CN=ca
        echo subjectAltName=IP:127.0.0.1 >server.ext
        : >client.ext
        for name in server client; do
            openssl req -new -newkey rsa:2048 -nodes -keyout $name.key -out $name.csr -subj /CN=$name
            openssl x509 -req -in $name.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -out $name.crt -extfile $name.ext
        done"""], cwd=directory, check=True, capture_output=True)


# ---- settings ----

def flow(text):
    """{a: 1, b: true} of YAML, with plain values only."""
    pairs = (pair.split(": ", 1) for pair in text.strip("{} ").split(", ") if pair.strip("{} "))
    values = {"true": True, "false": False, '""': ""}
    return {key.strip(): values.get(value.strip(), value.strip()) for key, value in pairs}


def proposed():
    """The settings that the file has in force, and those that it has as comments: {first word of the comment: settings}."""
    with open(SETTINGS, encoding="utf-8") as f:
        text = f.read()
    json_data = re.search(r"jsonData:\n((?: {6}.*\n)+)", text).group(1)
    base = {"url": re.search(r"^    url: (.*)$", text, re.M).group(1), "secureJsonData": {"password": PASSWORD},
            "jsonData": {k: json.loads(v) if v.isdigit() or v in ("true", "false") else v
                         for k, v in re.findall(r"^ +(\w+): ([^ ]+)", json_data, re.M)}}
    ways = {"as it is": base}
    for title, body in re.findall(r"^#   (\S[^\n]*)\n((?:#     .*\n)+)", text, re.M):
        lines = dict(re.findall(r"^#     (\w+): *(.*?)(?: +#.*)?$", body, re.M))
        ways[title.split(" (")[0].rstrip(":")] = {
            "url": lines["url"].strip('"'),
            "jsonData": dict(base["jsonData"], **flow(lines["jsonData"])),
            "secureJsonData": dict(base["secureJsonData"], **flow(lines.get("secureJsonData", "")))}
    return ways


def ask(settings, queries):
    """Replies, in order; one error alone where there is no connection."""
    lines = "\n".join([json.dumps(settings)] + [json.dumps(q) for q in queries])
    made = subprocess.run([CLIENT], input=lines, capture_output=True, text=True, check=True, timeout=300)
    return [json.loads(line) for line in made.stdout.splitlines()]


class Plugin(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.servers, cls.ways = [], proposed()
        cls.one = cls.keep(Server())
        cls.one.restore()
        plain = grafana.Connection(cls.one.socket)
        cls.expected = [plain.ask(*words) for _, words in HISTORY["queries"]]

    @classmethod
    def keep(cls, server):
        cls.servers.append(server)
        return server

    @classmethod
    def tearDownClass(cls):
        for server in reversed(cls.servers):
            server.stop()

    def way(self, title, url, **secure):
        """One of the proposals, with the addresses and secrets of this test put in."""
        settings = json.loads(json.dumps(self.ways.pop(title)))
        self.assertEqual("://" in settings["url"], "://" in url, title)
        settings["url"] = url
        for key in secure:
            self.assertIn(key, settings["secureJsonData"], title)
        settings["secureJsonData"].update(secure)
        return settings

    def expect_all(self, settings):
        replies = ask(settings, [text for text, _ in HISTORY["queries"]])
        self.assertEqual(len(replies), len(self.expected), replies[:1])
        for (text, _), reply, expected in zip(HISTORY["queries"], replies, self.expected):
            if re.search(r"\bTIME\b| gil_worst ", text):  # of the last half minute, which has passed since
                self.assertIsInstance(float(reply["value"]), float, text[:200])
            else:
                self.assertEqual(reply, {"value": expected}, text[:200])

    def expect_refused(self, settings, words):
        replies = ask(settings, ["ZRANGE gil:procs 0 -1"])
        self.assertEqual(len(replies), 1)
        self.assertIn(words, replies[0]["error"])

    def test_each_proposal_works_as_it_stands(self):
        store = self.keep(Server(users=False))
        store.restore()
        self.expect_all(self.way("as it is", "redis://127.0.0.1:%d" % self.one.port))
        self.expect_all(self.way("Unix socket", self.one.socket))
        own = self.way("gilscope's own store", store.socket)
        self.expect_all(own)
        own["secureJsonData"]["password"] = PASSWORD
        self.expect_refused(own, "AUTH <password> called without any password")

        for node in start_cluster():
            self.keep(node)
        self.expect_all(self.way("Cluster", ",".join("127.0.0.1:%d" % node.port for node in self.servers[-3:])))

        sentinel = self.keep(start_sentinel(self.one))
        settings = self.way("Sentinel", "127.0.0.1:%d" % sentinel.port, sentinelPassword="")
        self.expect_all(settings)
        sentinel.connection.ask("ACL", "SETUSER", "default", "resetpass", ">sesame")
        settings["secureJsonData"]["sentinelPassword"] = "sesame"
        self.expect_all(settings)

        self.tls()
        self.assertEqual(list(self.ways), [], "proposals that nobody tried")

    def test_odd_queries_are_split_as_the_model_says(self):
        odd = ["ECHO a\rb", "ECHO a\\\nb", "ECHO  'a\\b'\t\n", 'ECHO "a\\b\\"c\\\\d\\\ne"', "ECHO a\\ b", "ECHO ''", "ECHO a'b c'\"d\"",
               "ECHO \\'", "MGET a b", "EVAL 'return {1,{},{2,{}},[[x]]}' 0"]
        server = self.keep(Server(users=False))
        settings, plain = dict(proposed()["gilscope's own store"], url=server.socket), server.connection
        for query, reply in zip(odd, ask(settings, odd)):
            try:
                reply_to = plain.ask(*grafana.split(query))
                expected = {"value": ["", ""] if reply_to == [None, None] else reply_to}
            except grafana.Error as error:
                expected = {"error": str(error)}
            if query.startswith("ECHO"):
                self.assertIn("value", reply, query)
            self.assertEqual(reply, expected, query)
        for query in ("ECHO 'a", 'ECHO "a', "ECHO a\\"):
            self.assertRaises(grafana.Error, grafana.split, query)
            self.assertIn("error", ask(settings, [query])[0], query)

    def tls(self):
        directory = tempfile.mkdtemp(prefix="gilscope-plugin-")
        self.addCleanup(shutil.rmtree, directory)
        make_certificates(directory)
        path = {name: os.path.join(directory, name) for name in os.listdir(directory)}
        port = free_port()
        server = self.keep(Server("--tls-port", str(port), "--tls-cert-file", path["server.crt"], "--tls-key-file",
                                  path["server.key"], "--tls-ca-cert-file", path["ca.crt"], "--tls-auth-clients", "yes"))
        server.restore()
        pem = {name: open(path[name], encoding="utf-8").read() for name in ("ca.crt", "client.crt", "client.key")}
        settings = self.way("TLS", "redis://127.0.0.1:%d" % port, tlsCACert=pem["ca.crt"], tlsClientCert=pem["client.crt"],
                            tlsClientKey=pem["client.key"])
        self.expect_all(settings)
        self.expect_refused(dict(settings, url="rediss://127.0.0.1:%d" % port), "too many colons in address")

    def test_addresses_of_gilscopes_own_are_refused(self):
        settings = json.loads(json.dumps(proposed()["Unix socket"]))
        self.expect_refused(dict(settings, url="unix://" + self.one.socket), "no such file")


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], warnings="ignore")
