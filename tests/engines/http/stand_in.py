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


class Bigram:
    """An engine without weights: logits [T][V] depend on the last two ids."""

    def __init__(self, stop=-1):
        self.stop = stop

    def prefill(self, ids):
        return [_drawn(ids[max(0, place - 1) : place + 1]) for place in range(len(ids))]

    def prefill_batch(self, prompts):
        return [self.prefill(ids) for ids in prompts]

    def generate(self, ids, n):
        answer = []
        while len(answer) < n and (not answer or answer[-1] != self.stop):
            row = self.prefill([*ids, *answer])[-1]
            answer.append(row.index(max(row)))
        return answer

    def generate_batch(self, prompts, n):
        return [self.generate(ids, n) for ids in prompts]

    def stream(self, ids, n):
        return self.generate(ids, n)

    def sample(self, ids, n, **filters):
        return self.generate(ids, n)


def _drawn(ids):
    source = random.Random(str(ids))
    return [source.gauss(0, 3) for _ in range(VOCABULARY)]


def log_softmax(row):
    total = max(row) + math.log(sum(math.exp(value - max(row)) for value in row))
    return [value - total for value in row]


class StandIn:
    """A running server of the engine that ``make()`` gives, or ``make(stop=)`` where answers end at another token.

    ``fault`` may be set at any time; ``requests`` holds each one's path, headers and body.
    """

    def __init__(self, dialect, make=Bigram):
        self.dialect, self.fault, self._make, self._engines = dialect, "", make, {}
        self._earlier_stops = ()
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

    def engine(self, stop=()):
        """The one engine, or the one that ends answers at the token in ``stop``."""
        key = tuple(stop[:1])
        if key not in self._engines:
            self._engines[key] = self._make(stop=key[0]) if key else self._make()
        return self._engines[key]

    def logits(self, prompts):
        """Logits [T][V] of each prompt."""
        engine = self.engine()
        found = engine.prefill_batch(prompts) if len(prompts) > 1 else [engine.prefill(prompts[0])]
        return [rows.tolist() if hasattr(rows, "tolist") else rows for rows in found]

    def rows(self, ids, logits, top):
        """Log-probabilities by id of each position: the best, and the prompt's own next token by itself."""
        found, own = [], []
        for row, following in zip(logits, [*ids[1:], None], strict=True):
            values = row if self.fault == "logits" else log_softmax(row)
            best = sorted(range(len(values)), key=values.__getitem__, reverse=True)[:top]
            found.append({token: values[token] for token in best})
            own.append({} if following is None else {following: values[following]})
        if self.fault == "nan":
            found[-1][next(iter(found[-1]))] = math.nan
        if self.fault == "foreign token":
            found[0][10**6] = -9.0
        cut = 1 if self.fault == "few positions" else 0
        return found[cut:], own[cut:]

    def answers(self, prompts, n, stop=()):
        """Greedy tokens of each prompt, up to the first that is one of ``stop``."""

        def ask(engine):
            return engine.generate_batch(prompts, n) if len(prompts) > 1 else [engine.generate(prompts[0], n)]

        return self._stopped(ask, stop)

    def drawn(self, ids, n, temperature, filters, seed, stop=()):
        """Drawn tokens, up to the first that is one of ``stop``."""
        chosen = {name: filters[name] for name in ("top_k", "top_p", "min_p")}
        ask = lambda engine: [engine.sample(ids, n, temperature=temperature, seed=seed, **chosen)]  # noqa: E731
        return self._stopped(ask, stop)[0]

    def _stopped(self, ask, stop):
        """What ``ask(engine)`` answers, up to the first token of ``stop``, or with the fault at another place."""
        earlier, self._earlier_stops = self._earlier_stops, tuple(stop)
        chosen = {
            "stop ignored": (),
            "first stop": tuple(stop[:1]),
            "another stop": tuple(token - 1 for token in stop),
            "stop of the request before": earlier,
            "stops of all requests": (*earlier, *stop),
        }.get(self.fault, tuple(stop))
        if self.fault == "stops of all requests":
            self._earlier_stops = chosen
        found = [ask(self.engine((token,))) for token in dict.fromkeys(chosen)] or [ask(self.engine())]
        answers = [min(rows, key=len) for rows in zip(*found, strict=True)]
        cut = self.fault == "stop cut"
        return [row[:-1] if cut and set(row[-1:]) & set(chosen) else row for row in answers]

    def _refuses(self, top):
        if top > MAX_TOP[self.dialect]:
            return 400, {"error": {"message": f"logprobs of {top} is more than {MAX_TOP[self.dialect]}"}}
        return None

    def _vllm(self, body):
        prompts, n, top = body["prompt"], body["max_tokens"], body.get("prompt_logprobs")
        if top is not None and (refusal := self._refuses(top)):
            return refusal
        if body.get("stream"):
            return 200, [{"choices": [{"token_ids": [token]}]} for token in self.engine().stream(prompts, n)]
        if body.get("temperature", 1) > 0:
            stop = body.get("stop_token_ids", ())
            tokens = [self.drawn(prompts[0], n, body["temperature"], body, body["seed"], stop)]
        elif top is None:
            tokens = self.answers(prompts, n, body.get("stop_token_ids", ()))
        choices = []
        logits = self.logits(prompts) if top is not None else []
        for index in range(len(prompts)):
            choice = {"index": index, "text": "", "prompt_logprobs": None, "logprobs": None}
            if top is None:
                choice["token_ids"] = tokens[index]
            else:
                best, own = self.rows(prompts[index], logits[index], top)
                *prompt, last = [row | more for row, more in zip(best, own, strict=True)]
                shown = [{str(token): {"logprob": value, "rank": 1} for token, value in row.items()} for row in prompt]
                named = {f"token_id:{token}": value for token, value in last.items()}
                choice |= {"prompt_logprobs": [None, *shown], "logprobs": {"top_logprobs": [named]}}
            choices.append(choice)
        return 200, {"model": MODEL, "choices": choices[::-1]}  # in any order

    def _openai(self, body):
        ids, n, top = body["prompt"], body["max_tokens"], body["logprobs"]
        if refusal := self._refuses(top):
            return refusal
        (tokens,) = self.answers([ids], n)
        found = {"tokens": [f"token_id:{token}" for token in tokens]}
        if body.get("echo"):
            best, own = self.rows(ids, self.logits([ids])[0], top)
            named = [{f"token_id:{token}": value for token, value in row.items()} for row in best]
            chosen = [next(iter(row.values()), 0.0) for row in own]
            found["tokens"] = [f"token_id:{token}" for token in ids] + found["tokens"]
            found |= {"top_logprobs": [None, *named], "token_logprobs": [None, *chosen]}
        return 200, {"model": MODEL, "choices": [{"index": 0, "logprobs": found}]}

    def _sglang(self, body):
        parameters, prompts = body["sampling_params"], body["input_ids"]
        n, temperature = parameters["max_new_tokens"], parameters["temperature"]
        if body.get("return_logprob"):
            top = body["top_logprobs_num"]
            return 200, [
                self._meta(ids, *self.rows(ids, rows, top))
                for ids, rows in zip(prompts, self.logits(prompts), strict=True)
            ]
        if temperature > 0:
            filters = parameters | {"top_k": max(0, parameters["top_k"])}
            stop, seed = parameters.get("stop_token_ids", ()), parameters["sampling_seed"]
            tokens = [self.drawn(prompts[0], n, temperature, filters, seed, stop)]
        else:
            tokens = self.answers(prompts, n, parameters.get("stop_token_ids", ()))
        return 200, [{"text": "", "output_ids": answer, "meta_info": {}} for answer in tokens]

    def _meta(self, ids, best, own):
        def entries(row):
            return [[value, token, None] for token, value in row.items()]

        *prompt, last = map(entries, best)
        chosen = [entry for row in own for entry in entries(row)]
        meta = {"input_top_logprobs": [None, *prompt], "output_top_logprobs": [last]}
        return {"output_ids": [0], "meta_info": meta | {"input_token_logprobs": [[None, ids[0], None], *chosen]}}

    def _llama_cpp(self, body):
        ids, n, temperature = body["prompt"], body["n_predict"], body.get("temperature", 1)
        if body.get("stream"):
            streamed = self.engine().stream(ids, n)
            return 200, [*({"tokens": [token], "stop": False} for token in streamed), {"tokens": [], "stop": True}]
        tokens = self.drawn(ids, n, temperature, body, body["seed"]) if temperature > 0 else self.answers([ids], n)[0]
        answer = {"model": MODEL, "content": "", "tokens": tokens, "stop": True}
        if top := body.get("n_probs"):
            last = self.rows(ids, self.logits([ids])[0], top)[0][-1:] if self.fault != "few positions" else []
            shown = [[{"id": token, "token": "", "logprob": value} for token, value in row.items()] for row in last]
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
        try:
            status, value = self.stand_in.answer(self.path, json.loads(body))
        except Exception as problem:  # of the engine, as a server answers it
            status, value = 500, {"error": {"message": repr(problem)}}
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


def empty(handler):
    handler._reply(200, b"", "text/event-stream")


TROUBLES = {
    "empty": empty,
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
