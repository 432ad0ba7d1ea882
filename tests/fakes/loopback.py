"""A server on loopback for as long as a block of code."""

import threading
from contextlib import contextmanager
from http.server import ThreadingHTTPServer


@contextmanager
def serving(handler, fake, path=""):
    """The fake behind a running server of such handlers, which have it as `fake`; its `address` ends in the path."""
    http = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (handler,), {"fake": fake}))
    http.daemon_threads = True
    fake.address = f"http://127.0.0.1:{http.server_port}{path}"
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield fake
    finally:
        http.shutdown()
        http.server_close()
        thread.join()
