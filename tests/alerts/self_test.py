"""A small repository without errors, and one error of each kind in it: what is not found fails."""

import json
import pathlib
import tempfile

import dashboard
import live
import rules

RULE = """groups:
  - name: forebay-p0
    rules:
      - alert: Full
        expr: forebay_problem{code="backlog_full"} == 1
        labels: { severity: p0 }
        annotations:
          summary: "full"
          description: "It is full."
          runbook_url: docs/runbook.md#backlog_full
"""
TEST = """rule_files: [../../config/prometheus/forebay.rules.yml]
evaluation_interval: 1m

tests:
  - interval: 1m
    input_series:
      - { series: 'forebay_problem{code="backlog_full"}', values: 0 1 1 0 0 }
    alert_rule_test:
      - { eval_time: 0m, alertname: Full, exp_alerts: [] }
      - eval_time: 1m
        alertname: Full
        exp_alerts:
          - exp_labels: { severity: p0, code: backlog_full }
            exp_annotations: { summary: "full", description: "It is full.", runbook_url: docs/runbook.md#backlog_full }
      - { eval_time: 3m, alertname: Full, exp_alerts: [] }
"""
SECTION = "## backlog_full\n\n**Meaning.** A.\n\n**Effect on users.** B.\n\n**Where to look.** C.\n\n**What to do.** D.\n"
DATASOURCE = {"type": "prometheus", "uid": dashboard.DATASOURCE}


def panel(number, title, expr, **others):
    place = {"x": 12 * (number % 2), "y": 8 * (number // 2), "w": 12, "h": 8}
    target = {"refId": "A", "datasource": DATASOURCE, "expr": expr}
    usual = {"id": number, "type": "stat", "title": title, "description": "A.", "datasource": DATASOURCE}
    return usual | {"gridPos": place, "targets": [target]} | others


def board(*panels):
    variable = {"name": "job", "type": "query", "query": {"query": "label_values(http_in_flight, job)"}}
    restarts = {"name": "Starts", "expr": "changes(http_in_flight[$__interval]) > 0"}
    parts = {"annotations": {"list": [restarts]}, "templating": {"list": [variable]}}
    return json.dumps({"panels": panels} | parts)


BUSY = panel(0, "Busy", 'sum by (job) (rate(http_in_flight{job=~"$job"}[$__rate_interval])) / on (job) http_in_flight')
ROUTES = panel(1, "Routes", 'topk(5, http_requests_total{route="/login", status=~"5.."} offset 5m)')
GOOD = {
    rules.RULES: RULE,
    rules.CONFIG: "rule_files: [forebay.rules.yml]\n",
    "tests/alerts/p0.test.yml": TEST,
    rules.RUNBOOK: "# Runbook\n\n" + SECTION,
    dashboard.DASHBOARD: board(BUSY, ROUTES),
    "metrics": 'http_in_flight 0\nhttp_requests_total{route="/login",status="200"} 1\nforebay_problem{code="backlog_full"} 0\n',
}
TARGET_ELSEWHERE = [{"refId": "A", "datasource": {"uid": "prod"}, "expr": "http_in_flight"}]
# A file, what is replaced in it by what (None: all of it), and what the finding has to say.
PLANTED = [
    (rules.RULES, "== 1", "= 1", "check config failed"),
    (rules.RULES, "== 1", "== 2", "test rules failed"),
    (rules.RULES, "- alert: Full", "-   alert: Full", "1 alerts, of which 0"),
    (rules.RULES, "severity: p0", "severity: high", "Full has no severity"),
    (rules.RULES, "#backlog_full", "#empty", "has no section empty"),
    (rules.RULES, "forebay_problem{", "forebay_problems{", "there is no metric forebay_problems"),
    (rules.RULES, '{code="backlog_full"}', '{kind="full"}', "forebay_problem has no label kind"),
    (rules.RULES, '{code="backlog_full"}', '{code="fool"}', 'forebay_problem has no series with code="fool"'),
    ("tests/alerts/p0.test.yml", "eval_time: 3m", "eval_time: 0m", "no test in which Full fires and resolves"),
    ("tests/alerts/p0.test.yml", 'summary: "full"', 'summary: "half"', "test rules failed"),
    (rules.RUNBOOK, "**What to do.**", "**Hints.**", "the section backlog_full has no **What to do.**"),
    (rules.RUNBOOK, "## backlog_full", "## empty", "has no section backlog_full"),
    (dashboard.DASHBOARD, None, board(BUSY, panel(1, "X", "sum(")), "check rules failed"),
    (dashboard.DASHBOARD, None, board(BUSY, panel(1, "X", "rate(http_gone[1m])")), "X: there is no metric http_gone"),
    (dashboard.DASHBOARD, None, board(BUSY, panel(1, "X", "http_in_flight", id=0)), "X has the id of Busy"),
    (dashboard.DASHBOARD, None, board(BUSY, panel(1, "X", "up", gridPos=BUSY["gridPos"])), "X covers Busy"),
    (dashboard.DASHBOARD, None, board(BUSY, panel(1, "X", "up", gridPos=BUSY["gridPos"] | {"x": 13})), "outside the 24"),
    (dashboard.DASHBOARD, None, board(BUSY, panel(1, "X", "up", description="")), "X has no description"),
    (dashboard.DASHBOARD, None, board(BUSY, panel(1, "X", "up", targets=TARGET_ELSEWHERE)), "does not use the variable"),
    (dashboard.DASHBOARD, "http_in_flight[", "http_flight[", "Starts: there is no metric http_flight"),
    (dashboard.DASHBOARD, "label_values(http_in", "label_values(http_on", "job: there is no metric http_on_flight"),
    ("metrics", "} 0\n", '} 0\nforebay_problem{code="new"} 0\n', "no section for the problem new"),
    ("metrics", "} 0\n", '} 0\nforebay_problem{code="new"} 0\n', "no alert for the problem new"),
]


def found_in(files):
    with tempfile.TemporaryDirectory() as directory:
        root = pathlib.Path(directory)
        for name, content in files.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(content, encoding="utf-8")
        return [*rules.findings(root), *dashboard.findings(root), *live.findings(root, files["metrics"])]


def findings():
    if found := found_in(GOOD):
        yield f"self-test: a repository without errors has findings: {found}"
    for file, old, new, expected in PLANTED:
        changed = new if old is None else GOOD[file].replace(old, new, 1)
        if changed == GOOD[file]:
            yield f"self-test: {file} has no {old!r}"
        found = found_in(GOOD | {file: changed})
        if not any(expected in finding for finding in found):
            yield f"self-test: {file} with {new!r}: expected a finding with {expected!r}, found {found}"
