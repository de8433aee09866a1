#!/usr/bin/env python3
"""Posts, by Python's standard library alone: an app that knows nothing of Coppice but how to name tags.

    GET  /posts/<slug>         a page; its answer carries `Cache-Tag: post-<slug>`
    POST /api/script           {"path": "/posts/a", "does": "fail"}: what a page does from now on
    GET  /api/script?path=…    how often it has been rendered

It listens on $PORT of 127.0.0.1.
"""

import json
import os
import threading
from datetime import datetime, timezone
from html import escape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit


class Page:
    """One page's script, and how often it has been asked for and rendered."""

    def __init__(self):
        self.does, self.to, self.edition = "render", None, "1"
        self.begun = self.renders = 0

    def counts(self):
        return {"does": self.does, "edition": self.edition, "begun": self.begun, "renders": self.renders}


pages = {}
# Guards `pages`; who waits in a page is told here when its script changes.
told = threading.Condition()


def page(path):
    return pages.setdefault(path, Page())


def tell(path, does="render", to=None, edition=None):
    with told:
        one = page(path)
        one.does, one.to, one.edition = does, to, edition or one.edition
        told.notify_all()
        return one.counts()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        url = urlsplit(self.path)
        if url.path == "/api/script":
            path = parse_qs(url.query).get("path", [""])[0]
            with told:
                counts = page(path).counts()
            return self.answer(200, json.dumps(counts), kind="application/json")
        if url.path.startswith("/posts/"):
            return self.post(url.path)
        return self.answer(200 if url.path == "/" else 404, "<p>Posts are below /posts/.</p>")

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if urlsplit(self.path).path != "/api/script":
            return self.answer(404, "{}", kind="application/json")
        return self.answer(200, json.dumps(tell(**json.loads(body))), kind="application/json")

    def post(self, path):
        slug = unquote(path.removeprefix("/posts/"))
        with told:
            one = page(path)
            one.begun += 1
            # As it was when the rendering began: a slow answer shows old content.
            edition = one.edition
            told.wait_for(lambda: one.does != "wait")
            does, to = one.does, one.to
            one.renders += does != "fail"
        if does == "fail":
            return self.answer(500, "<p>It was told to fail.</p>")
        if does == "gone":
            return self.answer(404, "<p>There is no such post.</p>")
        if does in ("redirect", "move"):
            return self.answer(307 if does == "redirect" else 308, "", Location=to)
        now = datetime.now(timezone.utc).isoformat()
        text = (
            f'<!doctype html><title>{escape(slug)}</title><h1 id="slug">{escape(slug)}</h1>'
            f'<p>edition <b id="edition">{escape(edition)}</b>, rendered at <time id="rendered">{now}</time></p>'
        )
        return self.answer(200, text, **{"Cache-Tag": f"post-{slug}"})

    def answer(self, status, text, kind="text/html; charset=utf-8", **headers):
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_):
        """The cache in front has a line for each request."""


if __name__ == "__main__":
    ThreadingHTTPServer(("127.0.0.1", int(os.environ.get("PORT", "3000"))), Handler).serve_forever()
