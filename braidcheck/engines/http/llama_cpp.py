"""llama.cpp's server: its own ``/completion``, which gives log-probabilities only of generated tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from braidcheck.engines.http.server import Row, Server, reading

UNCHANGED = {"repeat_penalty": 1.0, "return_tokens": True}
ORDER = ("temperature", "top_k", "top_p", "min_p")  # as HF applies them; llama.cpp's own order ends with temperature


class LlamaCppServer(Server):
    """``POST /completion`` at the server's root. Each position of a prompt is a request of its own, of which the
    server's prefix cache has all but the last token: a prefill of one token after a cached prefix."""

    name = "llama.cpp"

    def _logprobs(self, prompts: list[list[int]], top: int) -> list[list[Row]]:
        with ThreadPoolExecutor(self.concurrency) as pool:
            return list(pool.map(lambda ids: self._positions(ids, top), prompts))

    def _positions(self, ids: list[int], top: int) -> list[Row]:
        return [self._position(ids[: place + 1], ids[place + 1 : place + 2], top) for place in range(len(ids))]

    def _position(self, ids: list[int], following: list[int], top: int) -> Row:
        """The best tokens after ``ids``, and the ``following`` one: if it is not among them, all tokens are
        requested."""
        best = self._after(ids, top)
        if not best or best.keys() >= set(following):
            return best
        return best | {
            token: value for token, value in self._after(ids, self.vocabulary_size).items() if token in following
        }

    def _after(self, ids: list[int], top: int) -> dict[int, float]:
        answer = self._completion(ids, {"n_predict": 1, "n_probs": top, "temperature": 0, "cache_prompt": True})
        # None if the token is a part of a character: the server holds it back until the character is complete.
        positions = answer.get("completion_probabilities", ())
        return {entry["id"]: entry["logprob"] for position in positions for entry in position["top_logprobs"]}

    def _answers(self, prompts: list[list[int]], n: int, stop: Sequence[int]) -> list[list[Any]]:
        def answer(ids: list[int]) -> list[Any]:
            return self._completion(ids, {"n_predict": n, "temperature": 0, "cache_prompt": False})["tokens"]

        with ThreadPoolExecutor(self.concurrency) as pool:
            return list(pool.map(answer, prompts))

    def sample(
        self, ids: list[int], n: int, *, temperature: float, top_k: int, top_p: float, min_p: float, seed: int
    ) -> list[int]:
        """Drawn tokens."""
        filters = {"temperature": temperature, "top_k": top_k, "top_p": top_p, "min_p": min_p}
        with reading(self.client, "token ids"):
            drawn = self._completion(ids, {"n_predict": n, "samplers": ORDER, "seed": seed, **filters})
            return self._tokens(drawn["tokens"])

    def stream(self, ids: list[int], n: int) -> list[int]:
        """Greedy tokens of a stream."""
        body = {"prompt": ids, **UNCHANGED, "n_predict": n, "temperature": 0, "stream": True}
        with reading(self.client, "token ids in its stream"):
            events = self.client.post_for_events("/completion", body)
            return self._tokens(token for event in events for token in event["tokens"])

    def _completion(self, ids: list[int], options: Mapping[str, Any]) -> Mapping[str, Any]:
        answer = self.client.post("/completion", {"prompt": ids, **UNCHANGED, **options})
        self._same_model(answer)
        if "tokens" not in answer:
            raise KeyError("tokens")
        return answer
