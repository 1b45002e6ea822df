"""A hook server that answers, well or badly, as the path asks; prints what it is asked.

Prints the port that it listens at, then a line for each request:
method target|content type|user agent|body
"""

import socketserver
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Receiver(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def answer(self, body, status=200, headers=()):
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def begin(self, length):
        self.send_response(200)
        self.send_header("Content-Length", str(length))
        self.end_headers()
        self.close_connection = True

    def serve(self):
        length = int(self.headers.get("Content-Length", 0))
        body = self.rfile.read(length).decode()
        kind = self.headers.get("Content-Type", "")
        agent = self.headers.get("User-Agent", "")
        # As one: there are several threads.
        sys.stdout.write(f"{self.command} {self.path}|{kind}|{agent}|{body}\n")
        sys.stdout.flush()
        path = self.path.split("?")[0].split("/")[1]
        if path == "no":
            self.answer(b"1")
        elif path == "code":
            self.answer(b'{"code":0,"data":null}', 201)
        elif path == "refuse":
            self.answer(b'{"code":403}')
        elif path == "publishing":
            self.answer(b"1" if '"on_publish"' in body else b"0")
        elif path.isdigit():
            self.answer(b"" if path == "204" else b"0", int(path))
        elif path == "redirect":
            self.answer(b"0", 302, [("Location", "/ok")])
        elif path == "garbage":
            self.answer(bytes(range(256)))
        elif path == "noise":
            self.wfile.write(bytes(range(256)) * 64)
            self.close_connection = True
        elif path == "never":
            time.sleep(3600)
        elif path == "slow":
            time.sleep(1)
            self.answer(b"0")
        elif path == "huge":
            self.begin(100 << 20)
            for _ in range(100):
                self.wfile.write(b" " * (1 << 20))
        elif path == "endless":
            self.send_response(200)
            self.end_headers()
            self.close_connection = True
            while True:
                self.wfile.write(b" " * (1 << 16))
        elif path == "drip":
            self.begin(60)
            for _ in range(60):
                self.wfile.write(b" ")
                time.sleep(1)
        elif path == "cut":
            self.begin(100)
            self.wfile.write(b'{"code":0')
        else:
            self.answer(b"0")

    do_GET = do_POST = serve


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def server_bind(self):
        # That of the parent looks up the name of the machine.
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address

    def handle_error(self, request, client_address):
        pass


server = Server(("127.0.0.1", int(sys.argv[1])), Receiver)
print(f"listens at {server.server_port}", flush=True)
server.serve_forever()
