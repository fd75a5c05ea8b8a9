"""Lists the Debian packages of the image that it runs in, as plain text: name, space, version."""

from pathlib import Path
from urllib.parse import parse_qs

STATUS = Path("/var/lib/dpkg/status")


def packages(status):
    """Yields name and version of each installed package in dpkg's status file."""
    for paragraph in status.split("\n\n"):
        fields = dict(
            line.split(": ", 1)
            for line in paragraph.splitlines()
            if ": " in line and not line.startswith(" ")
        )
        if fields.get("Status", "").endswith(" installed"):
            yield fields["Package"], fields["Version"]


def application(environ, start_response):
    wanted = parse_qs(environ.get("QUERY_STRING", "")).get("q", [""])[0]
    lines = [
        f"{name} {version}\n"
        for name, version in packages(STATUS.read_text(encoding="utf-8"))
        if wanted in name
    ]
    start_response("200 OK", [("Content-Type", "text/plain; charset=utf-8")])
    return [line.encode() for line in lines]
