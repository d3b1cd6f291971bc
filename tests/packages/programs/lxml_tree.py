# SPDX-License-Identifier: GPL-2.0-only
# needs: lxml
"""The elements of a large tree become Python objects: C that keeps the GIL for 30 ms. Parsing and XPath let go of it."""
import lxml.etree
from clocks import cause, keeps, pause, releases, run, size_for, thread


def document(n):
    return b"<r>" + b"".join(b"<a k='%d'><b>text %d</b></a>" % (i % 97, i) for i in range(n)) + b"</r>"


def collect(tree):
    return list(tree.iter())


size = size_for(30, lambda n: collect(lxml.etree.fromstring(document(n))))
text = document(size)
made = lxml.etree.fromstring(text)
path = lxml.etree.XPath("count(//a[@k = '13'][b != 'text'])")


def search():
    return path(made)


def parse():
    return lxml.etree.fromstring(text)


collect, search, parse = keeps(collect), releases(search), releases(parse)


def work():
    collect(made)
    search()
    parse()
    pause(0.03)


def beat():
    pause(0.002)


thread("work", work)
thread("beat", beat)
cause("long_hold", "collect", "work")
run(6)
