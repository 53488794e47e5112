"""Fetches a page N times with aiohttp, extracts three fields with selectolax, and writes a JSON line for each."""

import asyncio
import datetime
import json
import sys

import aiohttp
from selectolax.lexbor import LexborHTMLParser


async def fetch(session, url, left, out):
    while left[0] > 0:
        left[0] -= 1
        async with session.get(url) as answer:
            page = LexborHTMLParser(await answer.text())
        number = lambda css: float(page.css_first(css).text().replace(",", ""))
        record = {
            "observed_at": datetime.datetime.now(datetime.timezone.utc).isoformat(),
            "price": number("span.red14px"),
            "change": number("span.chg"),
            "status": page.css_first("td#status").text(),
        }
        out.write(json.dumps(record) + "\n")


async def main(url, pages, tasks, path):
    left = [pages]
    with open(path, "w") as out:
        async with aiohttp.ClientSession() as session:
            await asyncio.gather(*(fetch(session, url, left, out) for _ in range(tasks)))


asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]))
