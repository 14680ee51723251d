"""Sends the SDK's events over HTTP, and reads them from Kafka with the SDK (see `run`)."""

import contextlib
import datetime
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

sys.path.append(str(pathlib.Path(__file__).resolve().parents[1] / "format"))

from cloudevents.core.bindings import http, kafka
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from kafka import KafkaConsumer, TopicPartition
from lives import Daemon, free_port

FORMAT = JSONFormat()
MODES = ("binary", "structured", "batch")
OUT = ("binary", "structured")
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
TIME = datetime.datetime(2026, 12, 1, 8, 30, 15, 123456, tzinfo=datetime.timezone.utc)
ALL_BYTES = bytes(range(256))
# Optional attributes and data of each event.
EVENTS = {
    "json": ({"datacontenttype": "application/json"}, {"größe": [1, 2.5, None], "text": "Ω\n"}),
    "full": (
        {
            "datacontenttype": "application/json",
            "dataschema": "https://example.org/schema#1",
            "subject": 'Euro € 😀 "quoted" 100% \\',
            "partitionkey": "schlüssel",
            "traceparent": TRACE,
            "myextension": "a,b;c=d",
            "empty": "",
            "number": 42,
        },
        {"a": 1},
    ),
    "bytes": ({"datacontenttype": "application/octet-stream"}, ALL_BYTES),
    "xml": ({"datacontenttype": "text/xml"}, '<much wow="ö"/>'),
    "typed": ({"datacontenttype": 'application/vnd.example+avro; schema="5"'}, b"\x00\xff\n"),
    "nothing": ({"subject": "no data"}, None),
}


class Failed(Exception):
    pass


def expect(actual, wanted, detail):
    if actual != wanted:
        raise Failed(f"{detail}\n  got:    {actual!r}\n  wanted: {wanted!r}")


@contextlib.contextmanager
def broker(home, work):
    """Starts an Apache Kafka with one broker, or uses the one that is already running."""
    if not home:
        yield os.environ["FOREBAY_TEST_KAFKA"]
        return
    port, controller = free_port(), free_port()
    properties = work / "properties"
    properties.write_text(
        f"""process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=CLIENT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
controller.listener.names=CONTROLLER
inter.broker.listener.name=CLIENT
listener.security.protocol.map=CLIENT:PLAINTEXT,CONTROLLER:PLAINTEXT
num.partitions=2
offsets.topic.replication.factor=1
log.cleaner.dedupe.buffer.size=16777216
log.dirs={work / "data"}
"""
    )
    java = ["java", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto", "-Xlog:cds=off", "-Xmx256m"]
    java += [f"-XX:SharedArchiveFile={home}/kafka.jsa", f"-Djava.io.tmpdir={work}", "-cp", f"{home}/libs/*"]
    log = open(work / "broker.log", "wb")
    streams = {"stdin": subprocess.DEVNULL, "stdout": log, "stderr": log}
    tool = ["kafka.tools.StorageTool", "format", "-t", "Zm9yZWJheS10ZXN0cy0wMQ", "-c", properties]
    subprocess.run(java + tool, check=True, timeout=120, **streams)
    process = subprocess.Popen(java + ["kafka.Kafka", properties], **streams)
    try:
        yield f"127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()
        log.close()


def kinds(topics):
    types = ["application/json", "application/octet-stream", "text/xml", "application/vnd.example+avro"]
    return "".join(
        f'[[kinds]]\nname = "{mode}.store"\ntopic = "{topics[mode]}"\ncloudevents = "{mode}"\ncontent_types = {types}\n'
        for mode in OUT
    )


def made(name, mode):
    """The event with this name. Its id differs per mode, because source and id identify an event."""
    more, data = EVENTS[name]
    required = {"specversion": "1.0", "id": f"{name} {mode} ü", "source": "/größe/%41", "type": "t.é", "time": TIME}
    return CloudEvent(required | more, data)


def posted(daemon, kind, headers, body):
    status, content = daemon.request("POST", f"/v1/commands/{kind}.store", body, headers)
    expect(status, 202, f"{kind}: {content}")
    return json.loads(content)


def sent(daemon, kind, mode, events):
    """Posts events as rendered by the SDK. Returns their command ids."""
    if mode == "batch":
        # The SDK has no batches. A batch is an array of the SDK's documents.
        body = b"[" + b",".join(FORMAT.write(event) for event in events) + b"]"
        response = posted(daemon, kind, {"Content-Type": "application/cloudevents-batch+json"}, body)
        return [command["id"] for command in response["commands"]]
    render = http.to_binary if mode == "binary" else http.to_structured
    messages = [render(event, FORMAT) for event in events]
    return [posted(daemon, kind, message.headers, message.body)["id"] for message in messages]


def records(bootstrap, topic, count):
    """The records of a topic by command id. Waits until the topic has `count` records."""
    consumer = KafkaConsumer(bootstrap_servers=bootstrap)
    deadline, found = time.monotonic() + 90, {}
    try:
        partitions = None
        while not partitions and time.monotonic() < deadline:
            partitions = consumer.partitions_for_topic(topic)
        places = [TopicPartition(topic, partition) for partition in sorted(partitions or ())]
        consumer.assign(places)
        consumer.seek_to_beginning(*places)
        while len(found) < count and time.monotonic() < deadline:
            for batch in consumer.poll(timeout_ms=500).values():
                found |= {dict(record.headers)["forebay-command-id"].decode(): record for record in batch}
    finally:
        consumer.close()
    expect(len(found), count, f"records of {topic}")
    return found


def text(value):
    """The value of an attribute in its canonical form."""
    return value if isinstance(value, datetime.datetime) else str(value)


def check(record, event, out, detail):
    """Compares the event that the SDK reads from a record with the original event."""
    message = kafka.KafkaMessage(dict(record.headers), record.key, record.value)
    read = kafka.from_kafka(message, FORMAT)
    attributes = {name: text(value) for name, value in read.get_attributes().items()}
    wanted = {name: text(value) for name, value in event.get_attributes().items()}
    expect(attributes, wanted, f"{detail}: attributes")
    key = event.get_extension("partitionkey")
    expect(record.key, key and key.encode(), f"{detail}: key")
    if out == "binary":
        data = FORMAT.write_data(event.get_data(), event.get_datacontenttype())
        if not isinstance(event.get_data(), dict):
            # Without data, the record has a null value.
            expect(record.value, data if event.get_data() is not None else None, f"{detail}: value")
        else:
            expect(json.loads(record.value), event.get_data(), f"{detail}: value")
    elif isinstance(event.get_data(), str) and isinstance(read.get_data(), bytes):
        # Data that was sent as bytes stays bytes.
        expect(read.get_data().decode(), event.get_data(), f"{detail}: data")
    else:
        expect(read.get_data(), event.get_data(), f"{detail}: data")


def repeated(daemon):
    """An event that is sent again gets the first response, also in a different mode."""
    event = made("nothing", "repeated")
    (first,), (again,) = sent(daemon, "binary", "binary", [event]), sent(daemon, "binary", "structured", [event])
    expect(again, first, "command id of a repeated event")


def run(binary, kafka_home, work):
    topics = {mode: f"{mode}-{os.getpid()}" for mode in OUT}
    config = work / "kinds.toml"
    config.write_text(kinds(topics))
    with (
        broker(kafka_home, work) as bootstrap,
        # The Python client does not support lz4.
        Daemon(binary, work, config, KAFKA__BROKERS=bootstrap, KAFKA__COMPRESSION="none") as daemon,
    ):
        commands = {}
        for out in OUT:
            for mode in MODES:
                events = [made(name, mode) for name in EVENTS]
                commands |= {id: (event, out, mode) for id, event in zip(sent(daemon, out, mode, events), events)}
        repeated(daemon)
        each = len(MODES) * len(EVENTS)
        found = records(bootstrap, topics["binary"], each + 1) | records(bootstrap, topics["structured"], each)
        for id, (event, out, mode) in commands.items():
            check(found[id], event, out, f"{event.get_id()}: HTTP {mode}, Kafka {out}")
    return len(commands)


def main():
    binary, kafka_home = pathlib.Path(sys.argv[1]), sys.argv[2]
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="forebay-cloudevents-") as work:
        try:
            count = run(binary, kafka_home, pathlib.Path(work))
        except Failed as failed:
            print(f"tests/cloudevents: FAILED: {failed}", file=sys.stderr)
            return 1
    print(f"tests/cloudevents: {count} events of the SDK are unchanged ({time.monotonic() - begun:.0f} s)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
