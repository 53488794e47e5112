"""tweepy's StreamingClient writes each message as a line: tweepy_stream.py URL FILE."""

import sys
import time

import requests
import tweepy

URL, FILE = sys.argv[1:]


class Loopback(requests.Session):
    def request(self, method, url, **kwargs):
        return super().request(method, url.replace("https://api.twitter.com", URL), **kwargs)


class Client(tweepy.StreamingClient):
    def on_connect(self):
        print(time.time(), flush=True)

    def on_data(self, raw_data):
        # What its users do: the message is parsed and handed to the callbacks, and the line is written.
        super().on_data(raw_data)
        out.write(raw_data + b"\n")

    def on_closed(self, response):
        self.disconnect()

    def on_connection_error(self):
        self.disconnect()


with open(FILE, "wb") as out:
    client = Client("simulated-token")
    client.session = Loopback()
    client.filter()
print(time.time(), flush=True)
