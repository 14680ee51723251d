"""The alert rules, their tests and the runbook, as far as they have to agree. promtool checks everything else.

The standard library reads no YAML. The files keep one form, and a rule that is not read in it is a finding.
"""

import re

from promtool import promtool

RULES = "config/prometheus/forebay.rules.yml"
CONFIG = "config/prometheus/prometheus.yml"
TESTS = "tests/alerts"
RUNBOOK = "docs/runbook.md"
# What a section of the runbook answers.
PARTS = ("Meaning", "Effect on users", "Where to look", "What to do")


class Rule:
    def __init__(self, block):
        def one(pattern):
            found = re.search(pattern, block, re.M)
            return found and next(part for part in found.groups() if part is not None)

        self.name = block.split("\n", 1)[0].strip()
        self.expr = one(r"^ {8}expr: (?:\|\n((?: {10}.*\n)+)|(.*))")
        self.severity = one(r"^ {8}labels: \{ severity: (p[012]) \}")
        self.summary = one(r"^ {10}summary: (.*)")
        self.description = one(r"^ {10}description: (.*)")
        self.runbook = one(r"^ {10}runbook_url: docs/runbook\.md#(\w+)$")


def rules(root):
    return [Rule(block) for block in re.split(r"^ {6}- alert: ", text(root, RULES), flags=re.M)[1:]]


def text(root, name):
    return (root / name).read_text(encoding="utf-8")


def test_files(root):
    return sorted((root / TESTS).glob("*.test.yml"))


def sections(root):
    """Heading and text of each section of the runbook."""
    parts = re.split(r"^## (\S+)\n", text(root, RUNBOOK), flags=re.M)
    return dict(zip(parts[1::2], parts[2::2]))


def seconds(duration):
    units = {"s": 1, "m": 60, "h": 3600, "d": 86400}
    return sum(int(number) * units[unit] for number, unit in re.findall(r"(\d+)([smhd])", duration))


def tested(path):
    """The alerts that fire in a test and do not fire at a later time of the same test."""
    for test in re.split(r"^  - interval:", path.read_text(encoding="utf-8"), flags=re.M)[1:]:
        looks = re.findall(r"eval_time: (\w+),?\s+alertname: (\w+),?\s+exp_alerts:( \[\])?", test)
        fired = {}
        for time, name, is_quiet in looks:
            if not is_quiet:
                fired.setdefault(name, seconds(time))
            elif seconds(time) > fired.get(name, seconds(time)):
                yield name


def runbook(root):
    found = sections(root)
    for heading, body in found.items():
        for part in PARTS:
            if f"**{part}.**" not in body:
                yield f"{RUNBOOK}: the section {heading} has no **{part}.**"
    for rule in rules(root):
        if rule.runbook and rule.runbook not in found:
            yield f"{RULES}: {rule.name}: {RUNBOOK} has no section {rule.runbook}"


def findings(root):
    yield from promtool("check", "config", root / CONFIG)
    found = rules(root)
    alerts = re.findall(r"^\s*-?\s*alert:", text(root, RULES), re.M)
    if len(found) != len(alerts) or not found:
        yield f"{RULES}: {len(alerts)} alerts, of which {len(found)} are in the form that this test reads"
    for rule in found:
        for member in ("expr", "severity", "summary", "description", "runbook"):
            if not getattr(rule, member):
                yield f"{RULES}: {rule.name} has no {member} in the form that this test reads"
    yield from runbook(root)
    done = {name for path in test_files(root) for name in tested(path)}
    for rule in found:
        if rule.name not in done:
            yield f"{TESTS}: no test in which {rule.name} fires and resolves"
    yield from promtool("test", "rules", *test_files(root))
