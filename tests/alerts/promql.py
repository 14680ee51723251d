"""The selectors of a PromQL expression: metric names with their label matchers. promtool checks the syntax."""

import re

TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[A-Za-z_:][\w:]*|\d[\w.]*|=~|!~|!=|\S')
GROUPING = {"by", "without", "on", "ignoring", "group_left", "group_right"}
WORDS = {"and", "or", "unless", "bool", "offset", "inf", "nan", "atan2"}


def selectors(expression):
    """(metric, [(label, operator, value)])"""
    tokens = TOKEN.findall(expression)
    at = 0
    while at < len(tokens):
        token, following = tokens[at], tokens[at + 1] if at + 1 < len(tokens) else ""
        at += 1
        if token == "[":
            at = tokens.index("]", at)
        elif not re.match(r"[A-Za-z_:]", token) or token in WORDS:
            continue
        elif token in GROUPING:
            # Its list is optional after group_left and group_right, whose next bracket may be an operand.
            if following == "(":
                at = tokens.index(")", at)
        elif following == "(" or following in ("by", "without"):
            continue
        elif following == "{":
            end = tokens.index("}", at)
            yield token, matchers(tokens[at + 1 : end])
            at = end
        else:
            yield token, []


def matchers(tokens):
    tokens = [token for token in tokens if token != ","]
    triples = zip(tokens[0::3], tokens[1::3], tokens[2::3])
    return [(label, operator, value.strip('"').replace("\\\\", "\\")) for label, operator, value in triples]
