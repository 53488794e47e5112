"""nginx on a free port of loopback, for the scripts that measure: uncounted by whoever is measured, ended by the caller."""

import shutil
import socket
import subprocess
import sys
import time


def start(folder, files, more=""):
    """Serves `files` (name to text) from a folder of its own; `more` goes into the server's block. Times of answers are in
    `folder/times`. Returns the process and the address without a path."""
    (folder / "root").mkdir()
    for name, text in files.items():
        (folder / "root" / name).write_text(text)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    temps = "".join(f"{kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    (folder / "nginx.conf").write_text(
        f"daemon off; master_process off; pid {folder}/pid; error_log {folder}/error.log; events {{ worker_connections 1024; }}\n"
        f"http {{ types {{ text/html html; }} {temps} log_format times '$msec $request_time'; access_log {folder}/times times;\n"
        f"keepalive_requests 1000000; etag off; if_modified_since off;\n"
        f"server {{ listen 127.0.0.1:{port}; root {folder}/root; add_header Last-Modified ''; {more} }} }}\n"
    )
    program = shutil.which("nginx") or "/usr/sbin/nginx"
    server = subprocess.Popen([program, "-p", folder, "-c", "nginx.conf", "-e", "error.log"])
    for _ in range(100):
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return server, f"http://127.0.0.1:{port}"
        except OSError:
            time.sleep(0.05)
    sys.exit("nginx does not listen")


def page(rows):
    """A page of an exchange: the three fields first among furniture, then a table. 360 rows are about 71 KB."""
    rows = "".join(
        f'<tr data-symbol="S{n}"><td class="symbol"><a href="/stock/{n}">SYM{n}</a></td><td class="name">Company number {n} Ltd</td>'
        f'<td class="last">{n},{n % 900 + 100}.{n % 90 + 10}</td><td class="volume">{n},00,{n % 900 + 100}</td></tr>\n'
        for n in range(1, rows + 1)
    )
    nav = '<li><a href="/market/segment">Equity derivatives</a></li>' * 60
    return (
        f"<!doctype html><html lang=en><head><meta charset=utf-8><title>Index</title></head><body><nav><ul>{nav}</ul></nav>"
        '<p><span class="red14px">59,465.68</span> <span class="chg">-112.30</span></p>'
        f'<table id="info"><tr><td>Status</td><td id="status">Open</td></tr></table><table id="stocks">{rows}</table></body></html>'
    )
