"""A server on loopback that speaks the dialect of vLLM, SGLang, llama.cpp or OpenAI, with faults planted on demand.

The shapes of requests and answers are those of vLLM's ``/v1/completions``, SGLang's ``/generate`` and llama.cpp's
``/completion``; the last was compared with a real server's.
"""

from __future__ import annotations

import json
import math
import random
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

VOCABULARY = 40
MODEL = "tiny"
OWNERS = {"vllm": "vllm", "sglang": "sglang", "llama.cpp": "llamacpp", "openai": "someone"}
MAX_TOP = {"vllm": 20, "sglang": 1000, "llama.cpp": 1000, "openai": 5}


def bigram_logits(ids):
    """Logits [T][V] that depend on the last two ids: a model without weights."""
    return [_drawn(ids[max(0, place - 1) : place + 1]) for place in range(len(ids))]


def _drawn(ids):
    source = random.Random(str(ids))
    return [source.gauss(0, 3) for _ in range(VOCABULARY)]


def log_softmax(row):
    total = max(row) + math.log(sum(math.exp(value - max(row)) for value in row))
    return [value - total for value in row]


class StandIn:
    """A running server; ``fault`` may be set at any time, ``requests`` holds each one's path, headers and body."""

    def __init__(self, dialect, logits=bigram_logits, key=""):
        self.dialect, self.logits, self.key, self.fault = dialect, logits, key, ""
        self.requests, self.released = [], threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"stand_in": self}))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.released.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def models(self):
        return {"data": [{"id": MODEL, "owned_by": OWNERS[self.dialect]}]}

    def answer(self, path, body):
        """Status and JSON value."""
        served = {"vllm": "/v1/completions", "openai": "/v1/completions", "sglang": "/generate"}
        if path != served.get(self.dialect, "/completion"):
            return 404, {"error": {"message": "Not Found"}}
        return {"vllm": self._vllm, "openai": self._openai, "sglang": self._sglang}.get(self.dialect, self._llama_cpp)(
            body
        )

    def rows(self, ids, top, own=True):
        """Log-probabilities by id of each position: the best, and the prompt's own next token."""
        found = []
        for place, logits in enumerate(self.logits(ids)):
            values = logits if self.fault == "logits" else log_softmax(logits)
            wanted = sorted(range(len(values)), key=values.__getitem__, reverse=True)[:top]
            wanted += ids[place + 1 : place + 2] if own else []
            found.append({token: values[token] for token in wanted})
        if self.fault == "nan":
            found[-1][next(iter(found[-1]))] = math.nan
        if self.fault == "foreign token":
            found[0][VOCABULARY + 7] = -9.0
        return found[1:] if self.fault == "few positions" else found

    def greedy(self, ids, n, stop=()):
        answer = []
        while len(answer) < n and (not answer or answer[-1] not in stop):
            row = self.logits([*ids, *answer])[-1]
            answer.append(row.index(max(row)))
        return answer[: n // 2] if self.fault == "few tokens" else answer

    def _refuses(self, top):
        if top > MAX_TOP[self.dialect]:
            return 400, {"error": {"message": f"logprobs of {top} is more than {MAX_TOP[self.dialect]}"}}
        return None

    def _vllm(self, body):
        top = body.get("prompt_logprobs")
        if top is not None and (refusal := self._refuses(top)):
            return refusal
        if body.get("stream"):
            return 200, [
                {"choices": [{"token_ids": [token]}]} for token in self.greedy(body["prompt"], body["max_tokens"])
            ]
        choices = []
        for index, ids in enumerate(body["prompt"]):
            tokens = self.greedy(ids, body["max_tokens"], body.get("stop_token_ids", ()))
            choice = {"index": index, "text": "", "token_ids": tokens, "prompt_logprobs": None, "logprobs": None}
            if top is not None:
                *prompt, last = self.rows(ids, top)
                shown = [{str(token): {"logprob": value, "rank": 1} for token, value in row.items()} for row in prompt]
                named = {f"token_id:{token}": value for token, value in last.items()}
                choice |= {"prompt_logprobs": [None, *shown], "logprobs": {"top_logprobs": [named]}}
            choices.append(choice)
        return 200, {"model": MODEL, "choices": choices[::-1]}  # in any order

    def _openai(self, body):
        ids, n, top = body["prompt"], body["max_tokens"], body["logprobs"]
        if refusal := self._refuses(top):
            return refusal
        tokens = self.greedy(ids, n)
        shown = [f"token_id:{token}" for token in [*(ids if body.get("echo") else []), *tokens]]
        best = [{f"token_id:{token}": value for token, value in row.items()} for row in self.rows(ids, top, own=False)]
        own = [row[token] for row, token in zip(map(log_softmax, self.logits(ids)), [*ids[1:], tokens[0]], strict=True)]
        found = {"tokens": shown, "top_logprobs": [None, *best], "token_logprobs": [None, *own]}
        return 200, {"model": MODEL, "choices": [{"index": 0, "logprobs": found}]}

    def _sglang(self, body):
        parameters, results = body["sampling_params"], []
        for ids in body["input_ids"]:
            tokens = self.greedy(ids, parameters["max_new_tokens"], parameters.get("stop_token_ids", ()))
            meta = {"prompt_tokens": len(ids)}
            if body.get("return_logprob"):
                rows = self.rows(ids, body["top_logprobs_num"], own=False)
                *prompt, last = [[[value, token, None] for token, value in row.items()] for row in rows]
                own = [
                    [log_softmax(row)[token], token, None]
                    for row, token in zip(self.logits(ids), ids[1:], strict=False)
                ]
                meta |= {"input_top_logprobs": [None, *prompt], "output_top_logprobs": [last]}
                meta |= {"input_token_logprobs": [[None, ids[0], None], *own]}
            results.append({"text": "", "output_ids": tokens, "meta_info": meta})
        return 200, results

    def _llama_cpp(self, body):
        ids, tokens = body["prompt"], self.greedy(body["prompt"], body["n_predict"])
        if body.get("stream"):
            return 200, [*({"tokens": [token], "stop": False} for token in tokens), {"tokens": [], "stop": True}]
        answer = {"model": MODEL, "content": "", "tokens": tokens, "stop": True}
        if top := body.get("n_probs"):
            rows = self.rows(ids, top, own=False)[-1:] if self.fault != "few positions" else []
            shown = [[{"id": token, "token": "", "logprob": value} for token, value in row.items()] for row in rows]
            answer["completion_probabilities"] = [{"id": tokens[0], "top_logprobs": row} for row in shown]
        return 200, answer


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    stand_in: StandIn

    def log_message(self, *_):
        pass

    def do_GET(self):
        self._reply(200, self.stand_in.models()) if self.path == "/v1/models" else self._reply(404, {})

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.stand_in.requests.append((self.path, dict(self.headers), json.loads(body)))
        trouble = TROUBLES.get(self.stand_in.fault)
        if trouble:
            trouble(self)
            return
        status, value = self.stand_in.answer(self.path, json.loads(body))
        if self.stand_in.fault == "other model" and isinstance(value, dict):
            value["model"] = "another"
        if self.stand_in.fault == "without":
            value = {"object": "text_completion"}
        if json.loads(body).get("stream"):
            events = [*map(json.dumps, value), "[DONE]"]
            self._reply(status, "".join(f"data: {event}\n\n" for event in events).encode(), "text/event-stream")
            return
        self._reply(status, value)

    def _reply(self, status, value, kind="application/json"):
        self._send(status, value if isinstance(value, bytes) else json.dumps(value).encode(), kind)

    def _send(self, status, data, kind="application/json", **headers):
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(data)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)


def html(handler):
    handler._reply(200, b"<html>Welcome</html>", "text/html; charset=utf-8")


def error_500(handler):
    handler._reply(500, {"error": {"message": "out of memory"}})


def error_500_once(handler):
    handler.stand_in.fault = ""
    error_500(handler)


def redirect(handler):
    handler._send(307, b"", Location="http://192.0.2.1/v1/completions")


def unauthorized(handler):
    handler._reply(401, {"error": {"message": f"no such key: {handler.headers['Authorization']}"}})


def slow(handler):
    handler.stand_in.released.wait()


def drip(handler):
    """One byte at a time, so that no single read takes long."""
    handler.send_response(200)
    handler.end_headers()
    stop = handler.stand_in.released
    _until_closed(lambda: (handler.wfile.write(b" "), stop.wait(0.02)), stop)
    handler.close_connection = True


def endless(handler):
    handler.send_response(200)
    handler.end_headers()
    _until_closed(lambda: handler.wfile.write(b" " * 65536), handler.stand_in.released)
    handler.close_connection = True


def _until_closed(write, stop):
    try:
        while not stop.is_set():
            write()
    except OSError:
        pass  # the client has had enough


def cut(handler):
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(b'{"model": ')
    handler.close_connection = True


def closed(handler):
    handler.close_connection = True


TROUBLES = {
    "html": html,
    "500": error_500,
    "500 once": error_500_once,
    "redirect": redirect,
    "unauthorized": unauthorized,
    "slow": slow,
    "drip": drip,
    "endless": endless,
    "cut": cut,
    "closed": closed,
}
