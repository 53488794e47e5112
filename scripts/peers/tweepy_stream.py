"""tweepy's StreamingClient writes each message as a record: tweepy_stream.py URL QUERY FILE."""

import datetime
import json
import sys
import time

import requests
import tweepy

URL, QUERY, FILE = sys.argv[1:]


class Loopback(requests.Session):
    def request(self, method, url, **kwargs):
        return super().request(method, url.replace("https://api.twitter.com", URL), **kwargs)


class Client(tweepy.StreamingClient):
    def on_connect(self):
        print(time.time(), flush=True)

    def on_data(self, raw_data):
        # What its users do: the message is parsed and handed to the callbacks, and a line is written: the same as tapline's.
        super().on_data(raw_data)
        message = json.loads(raw_data)
        record = {
            "observed_at": datetime.datetime.now(datetime.timezone.utc).isoformat(),
            "source": "x",
            "id": "x_" + message["data"]["id"],
            "type": "post",
            "published_at": message["data"].get("created_at"),
            "data": message,
        }
        out.write(json.dumps(record, ensure_ascii=False, separators=(",", ":")).encode() + b"\n")

    def on_closed(self, response):
        self.disconnect()

    def on_connection_error(self):
        self.disconnect()


with open(FILE, "wb") as out:
    client = Client("simulated-token")
    client.session = Loopback()
    client.filter(**{name.replace(".", "_"): words for name, words in json.loads(QUERY).items()})
print(time.time(), flush=True)
