"""requests and orjson write each message as a record: requests_stream.py URL QUERY FILE."""

import datetime
import sys
import time

import orjson
import requests

URL, QUERY, FILE = sys.argv[1:]
headers = {"Authorization": "Bearer simulated-token"}
with requests.get(f"{URL}/2/tweets/search/stream", headers=headers, params=orjson.loads(QUERY), stream=True, timeout=30) as response, open(FILE, "wb") as out:
    print(time.time(), flush=True)
    for line in response.iter_lines(chunk_size=65536):
        if line:
            message = orjson.loads(line)
            record = {
                "observed_at": datetime.datetime.now(datetime.timezone.utc),
                "source": "x",
                "id": "x_" + message["data"]["id"],
                "type": "post",
                "published_at": message["data"].get("created_at"),
                "data": message,
            }
            out.write(orjson.dumps(record) + b"\n")
print(time.time(), flush=True)
