"""The Grafana dashboard: its layout, and its expressions as promtool parses them. `schema` checks the rest."""

import json
import re
import tempfile

from promtool import promtool

DASHBOARD = "config/grafana/forebay.json"
COLUMNS = 24
DATASOURCE = "${datasource}"
# What Grafana puts in place of its variables.
VARIABLES = {"$__rate_interval": "1m", "$__interval": "1m", "$job": ".*", "$instance": ".*"}


def load(root):
    return json.loads((root / DASHBOARD).read_text(encoding="utf-8"))


def expressions(root):
    """Where an expression stands, and what Prometheus is asked."""
    document = load(root)
    asked = [(panel["title"], target["expr"]) for panel in document["panels"] for target in panel.get("targets", [])]
    asked += [(one["name"], one["expr"]) for one in document["annotations"]["list"] if "expr" in one]
    for title, expression in asked:
        for variable, value in VARIABLES.items():
            expression = expression.replace(variable, value)
        yield title, expression
    for variable in document["templating"]["list"]:
        if variable["type"] == "query":
            query = variable["query"]["query"]
            yield variable["name"], re.fullmatch(r"label_values\((.*), \w+\)", query)[1].replace("$job", ".*")


def overlaps(one, other):
    def apart(at, size):
        return one[at] + one[size] <= other[at] or other[at] + other[size] <= one[at]

    return not apart("x", "w") and not apart("y", "h")


def layout(panels):
    for number, panel in enumerate(panels):
        title, place = panel["title"], panel["gridPos"]
        if place["x"] < 0 or place["x"] + place["w"] > COLUMNS:
            yield f"{DASHBOARD}: {title} is outside the {COLUMNS} columns"
        for earlier in panels[:number]:
            if panel["id"] == earlier["id"]:
                yield f"{DASHBOARD}: {title} has the id of {earlier['title']}"
            if overlaps(place, earlier["gridPos"]):
                yield f"{DASHBOARD}: {title} covers {earlier['title']}"
        if panel["type"] == "row":
            continue
        if not panel.get("description") or not panel.get("targets"):
            yield f"{DASHBOARD}: {title} has no description or no query"
        for part in (panel, *panel.get("targets", [])):
            if part.get("datasource", {}).get("uid") != DATASOURCE:
                yield f"{DASHBOARD}: {title} does not use the variable {DATASOURCE}"


def findings(root):
    yield from layout(load(root)["panels"])
    rules = [{"record": f"panel:{number}", "expr": expr} for number, (_, expr) in enumerate(expressions(root))]
    with tempfile.NamedTemporaryFile("w", suffix=".yml") as file:
        # JSON is YAML.
        json.dump({"groups": [{"name": "dashboard", "rules": rules}]}, file)
        file.flush()
        for finding in promtool("check", "rules", file.name):
            yield f"{DASHBOARD}: {finding}"
