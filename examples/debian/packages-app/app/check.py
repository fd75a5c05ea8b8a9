"""Healthy, if the way through nginx to the application finds nginx's own package."""

import sys
from urllib.request import urlopen

with urlopen("http://127.0.0.1:8080/?q=nginx", timeout=4) as answer:
    sys.exit(not any(line.startswith(b"nginx ") for line in answer))
