"""Fetches a page N times with Scrapy, extracts three fields, and writes a JSON line for each through its feed export."""

import datetime
import sys

import scrapy
from scrapy.crawler import CrawlerProcess

URL, PAGES, TASKS, PATH = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]


class Index(scrapy.Spider):
    name = "index"

    async def start(self):
        for _ in range(PAGES):
            yield scrapy.Request(URL, dont_filter=True)

    def parse(self, page):
        number = lambda css: float(page.css(css + "::text").get().replace(",", ""))
        yield {
            "observed_at": datetime.datetime.now(datetime.timezone.utc).isoformat(),
            "price": number("span.red14px"),
            "change": number("span.chg"),
            "status": page.css("td#status::text").get(),
        }


process = CrawlerProcess(
    {
        "LOG_LEVEL": "ERROR",
        "ROBOTSTXT_OBEY": False,
        "CONCURRENT_REQUESTS": TASKS,
        "CONCURRENT_REQUESTS_PER_DOMAIN": TASKS,
        "DOWNLOAD_DELAY": 0,
        "TELNETCONSOLE_ENABLED": False,
        "FEEDS": {PATH: {"format": "jsonlines", "overwrite": True}},
    }
)
process.crawl(Index)
process.start()
