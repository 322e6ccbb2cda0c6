"""Log lines at a server that refuses lines with ids, sent by several threads at once."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from millrace.client.endpoint import Endpoint
from millrace.client.synchronous import Client
from millrace.schema.fields import new_id, now
from millrace.schema.logs import LogCreate

THREADS = 8


def test_no_line_is_lost_while_several_threads_find_out_that_ids_are_refused() -> None:
    taken: list[str] = []
    together = threading.Barrier(THREADS)

    class Strict(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            lines = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if any("id" in line for line in lines):
                together.wait(60)  # all of them have sent before the first hears of it
                self.answer(422, {"detail": "Extra inputs are not permitted"})
                return
            taken.extend(line["message"] for line in lines)
            self.answer(201, None)

        def answer(self, status: int, body: object) -> None:
            text = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Strict) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with Client(Endpoint(f"http://127.0.0.1:{server.server_address[1]}/api")) as client:

            def send(number: int) -> None:
                line = LogCreate(id=new_id(), name="n", level=20, message=str(number), timestamp=now())
                client.create_logs([line])

            threads = [threading.Thread(target=send, args=(number,)) for number in range(THREADS)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(60)
        server.shutdown()
    assert sorted(taken, key=int) == [str(number) for number in range(THREADS)]
