"""What schemathesis does not know: a batch is a text of lines."""

import json

import schemathesis


@schemathesis.serializer("application/x-ndjson")
def lines(_, value):
    # What is no text is to be refused: an array is, as a line.
    text = value if isinstance(value, str) else json.dumps([value])
    return text.encode("utf-8", errors="replace")
