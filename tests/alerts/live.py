"""What rules and dashboard name, compared with the metrics that a daemon exposes."""

import http.client
import pathlib
import re
import sys

import dashboard
import rules
from promql import selectors

sys.path.append(str(pathlib.Path(__file__).resolve().parents[1] / "format"))
from lives import Daemon, free_port, order, wait_until_sent

# What Prometheus adds: a metric, and labels of every series.
OF_PROMETHEUS = {"up"}
LABELS_OF_PROMETHEUS = {"job", "instance"}
USER = {"name": "ada", "email": "ada@example.org", "phone": "+491701234567", "password": "correct horse"}


def exposition(binary, tools, work):
    """`GET /metrics` of an embedded daemon that has delivered a command, registered a user, and let it log in."""
    admin = free_port()
    with Daemon(binary, work, SERVER__ADMIN_LISTEN=f"127.0.0.1:{admin}") as daemon:
        daemon.send(order(1))
        daemon.send(USER, path="/v1/users", Prefer="wait=30")
        daemon.send({"name": USER["name"], "password": USER["password"]}, path="/login")
        wait_until_sent(tools, work / "wal")
        connection = http.client.HTTPConnection("127.0.0.1", admin, timeout=30)
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
        daemon.stop()
    return text


def series(text):
    """Labels of each series, by metric."""
    found = {}
    for name, labels in re.findall(r"^([A-Za-z_:][\w:]*)(?:\{(.*)\})? \S+$", text, re.M):
        found.setdefault(name, []).append(dict(re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', labels)))
    return found


def missing(known, metric, matchers):
    """Why no series can ever match, if so. Values that a regular expression asks for need not exist yet."""
    if metric in OF_PROMETHEUS:
        return None
    if metric not in known:
        return f"there is no metric {metric}"
    for label, operator, value in matchers:
        values = {labels[label] for labels in known[metric] if label in labels}
        if label in LABELS_OF_PROMETHEUS:
            continue
        if not values:
            return f"{metric} has no label {label}"
        if operator == "=" and value not in values:
            return f'{metric} has no series with {label}="{value}"'
    return None


def findings(root, text):
    known = series(text)
    asked = [(f"{rules.RULES}: {rule.name}", rule.expr) for rule in rules.rules(root)]
    asked += [(f"{dashboard.DASHBOARD}: {title}", expr) for title, expr in dashboard.expressions(root)]
    for place, expression in asked:
        for metric, matchers in selectors(expression or ""):
            if why := missing(known, metric, matchers):
                yield f"{place}: {why}"
    sections, alerts = rules.sections(root), {rule.runbook for rule in rules.rules(root)}
    for code in sorted({labels.get("code") for labels in known.get("forebay_problem", [])}):
        if code not in sections:
            yield f"{rules.RUNBOOK}: there is no section for the problem {code}"
        if code not in alerts:
            yield f"{rules.RULES}: there is no alert for the problem {code}"
