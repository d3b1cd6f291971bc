# SPDX-License-Identifier: GPL-2.0-only
"""usage: page.py FILE

Reads a page of `gilscope report --html` (or an SVG) as a strict parser would. Ends with an error if it is not well-formed, has a
script, an event handler or anything that would be loaded from elsewhere. Prints a JSON object: "text" is all that can be read,
"titles" the tooltips, and each class of <data> has the list of its values.
"""
import json
import re
import sys
import xml.etree.ElementTree as ElementTree

text = open(sys.argv[1], encoding="utf-8").read()
tree = ElementTree.fromstring(text)
found = {"titles": []}
words = []
for element in tree.iter():
    tag = element.tag.split("}")[-1]
    assert tag not in ("script", "link", "img", "iframe", "object", "embed", "base", "form"), tag
    for name, value in element.attrib.items():
        assert not name.lower().startswith("on"), name
        assert name.lower() not in ("src", "href", "srcset", "action"), name
        assert "url(" not in value, value
    if tag == "style":
        assert not re.search(r"@import|url\(", element.text), "the style loads something"
        continue
    if tag == "data":
        found.setdefault(element.get("class"), []).append(float(element.get("value")))
    if element.get("title"):
        found["titles"].append(element.get("title"))
    words += [element.text or "", element.tail or ""]
assert not re.search(r"https?://", text), "an address"
found["text"] = " ".join("".join(words).split())
json.dump(found, sys.stdout)
