"""Adds the media type of batches (lines of text) to schemathesis."""

import json

import schemathesis


@schemathesis.serializer("application/x-ndjson")
def lines(_, value):
    # A value that is not text must be refused. As an array in one line, it is.
    text = value if isinstance(value, str) else json.dumps([value])
    return text.encode("utf-8", errors="replace")
