"""What a schema cannot check of Dockerfile and compose.yaml. Called by tests/containers/run in the repository."""

import fnmatch
import os
import pathlib
import subprocess
import sys
import tempfile

import dockerfile
from ruamel.yaml import YAML

ROOT = pathlib.Path.cwd()
# These two come with the alert rules and the dashboard.
MOUNTED_IF_THERE = {"config/prometheus", "config/grafana"}
# What the programs are made of: code, and files that it includes.
SOURCES = (".cargo/", "Cargo", "cli-support/", "src/", "wal/", "wal-tools/", "config/", "docs/errors.md", "migrations/", "tests/support/")
findings = []


def expect(holds, text):
    if not holds:
        findings.append(text)


def context():
    """The files that there are, and those that a build is sent. .dockerignore has plain names and globs of the top only."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"], stdout=subprocess.PIPE, text=True, check=True
    )
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    patterns = [line for line in lines if line and not line.startswith("#")]

    def ignored(file):
        """The last pattern that matches decides. A pattern with `!` includes the file again."""
        result = False
        for pattern in patterns:
            name = pattern.removeprefix("!")
            if fnmatch.fnmatch(file, name) and "/" not in file or file == name or file.startswith(name + "/"):
                result = not pattern.startswith("!")
        return result

    files = {file for file in listed.stdout.splitlines() if (ROOT / file).is_file()}
    return files, {file for file in files if not ignored(file)}


def check_dockerfile(sent):
    stages = []
    for line in dockerfile.parse_file("Dockerfile"):
        if line.cmd.upper() == "FROM":
            stages.append([])
        stages[-1].append(line)
    expect(len(stages) == 2, f"Dockerfile: {len(stages)} stages, not a build and an image")
    image = {line.cmd.upper(): line for line in stages[-1]}
    user = image["USER"].value[0] if "USER" in image else "root"
    expect(user.split(":")[0].isdigit() and user.split(":")[0] != "0", f"Dockerfile: the image runs as {user}")
    for needed in ("HEALTHCHECK", "ENTRYPOINT", "CMD", "VOLUME"):
        expect(needed in image, f"Dockerfile: the image has no {needed}")
    for line in (line for stage in stages for line in stage if line.cmd.upper() in ("COPY", "ADD")):
        if any(flag.startswith("--from=") for flag in line.flags):
            continue
        for source in line.value[:-1]:
            there = source == "." or any(file == source or file.startswith(f"{source}/") for file in sent)
            expect(there, f"Dockerfile: {source} is not in the build's context")


def check_context(files, sent):
    """All sources are sent, with what they include; cargo can read every manifest."""
    for file in sorted(files - sent):
        expect(not file.startswith(SOURCES), f".dockerignore: a build needs {file}")
    with tempfile.TemporaryDirectory() as directory:
        for file in sent:
            copy = pathlib.Path(directory) / file
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.symlink_to(ROOT / file)
        read = subprocess.run(
            ["cargo", "metadata", "--locked", "--format-version", "1"], cwd=directory,
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )
        expect(read.returncode == 0, f"the build's context is not enough for cargo:\n{read.stderr}")


def check_compose(compose):
    services = compose["services"]
    for name, service in services.items():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            if source.startswith("./"):
                there = (ROOT / source).exists() or source.removeprefix("./") in MOUNTED_IF_THERE
                expect(there, f"compose.yaml: {name} mounts {source}, which does not exist")
            else:
                expect(source in compose["volumes"], f"compose.yaml: {name} mounts the unknown volume {source}")
        for port in service.get("ports", []):
            expect(port.startswith("127.0.0.1:"), f"compose.yaml: {name} publishes {port} beyond loopback")
        depends = service.get("depends_on", {})
        for other in depends:
            expect(other in services, f"compose.yaml: {name} depends on the unknown {other}")
        expect("latest" not in service["image"], f"compose.yaml: {name} has an image that changes")
    for needed in ("forebay", "kafka", "redis", "mariadb", "prometheus", "grafana"):
        expect(needed in services, f"compose.yaml: there is no {needed}")
    expect("kafka" not in services["forebay"]["depends_on"], "compose.yaml: forebay waits for Kafka")


def check_configuration(binary, compose):
    """The daemon's own opinion of what compose.yaml gives to it; its directory does not exist here."""
    settings = {name: str(value) for name, value in compose["services"]["forebay"]["environment"].items()}
    with tempfile.TemporaryDirectory() as directory:
        checked = subprocess.run(
            [binary, "check-config", "--config", ROOT / "packaging/docker/forebay.toml", "--dir", f"{directory}/wal"],
            env=os.environ | settings, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
    expect(checked.returncode == 0, f"packaging/docker/forebay.toml:\n{checked.stdout}")


def main():
    files, sent = context()
    check_dockerfile(sent)
    check_context(files, sent)
    compose = YAML(typ="safe").load(ROOT / "compose.yaml")
    check_compose(compose)
    check_configuration(sys.argv[1], compose)
    for finding in findings:
        print(f"tests/containers: {finding}", file=sys.stderr)
    sys.exit(1 if findings else 0)


main()
