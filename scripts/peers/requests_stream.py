"""requests and orjson write each message as a line: requests_stream.py URL FILE."""

import sys
import time

import orjson
import requests

URL, FILE = sys.argv[1:]
headers = {"Authorization": "Bearer simulated-token"}
with requests.get(f"{URL}/2/tweets/search/stream", headers=headers, stream=True, timeout=30) as response, open(FILE, "wb") as out:
    print(time.time(), flush=True)
    for line in response.iter_lines(chunk_size=65536):
        if line:
            message = orjson.loads(line)
            assert message["data"]["id"]
            out.write(line + b"\n")
print(time.time(), flush=True)
