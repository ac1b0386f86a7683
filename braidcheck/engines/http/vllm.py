"""vLLM's OpenAI-compatible server: prompt_logprobs, and token ids in and out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from braidcheck.engines.http.server import Row, StoppingServer, reading

TOKEN_PREFIX = "token_id:"  # what return_tokens_as_token_ids puts before an id


class VllmServer(StoppingServer):
    """``POST completions``, several prompts a request."""

    name = "vLLM"

    def _logprobs(self, prompts: list[list[int]], top: int) -> list[list[Row]]:
        options = {"prompt_logprobs": top, "logprobs": top, "return_tokens_as_token_ids": True}
        return [_rows(choice) for choice in self._choices(prompts, 1, options | {"temperature": 0})]

    def _answers(self, prompts: list[list[int]], n: int, stop: Sequence[int]) -> list[list[Any]]:
        return self._ids(prompts, n, {"temperature": 0, "stop_token_ids": list(stop)})

    def sample(
        self, ids: list[int], n: int, *, temperature: float, top_k: int, top_p: float, min_p: float, seed: int,
        stop: Sequence[int] = (),
    ) -> list[int]:  # fmt: skip
        """Drawn tokens."""
        filters = {"temperature": temperature, "top_k": top_k, "top_p": top_p, "min_p": min_p, "seed": seed}
        ends = {"stop_token_ids": list(stop)} if stop else {}
        with reading(self.client, "token ids"):
            return self._tokens(self._ids([ids], n, {**filters, **ends})[0])

    def stream(self, ids: list[int], n: int) -> list[int]:
        """Greedy tokens of a stream."""
        options = {"temperature": 0, "return_token_ids": True, "stream": True}
        with reading(self.client, "token ids in its stream"):
            events = self.client.post_for_events("completions", self._body(ids, n, options))
            return self._tokens(token for event in events for token in event["choices"][0]["token_ids"])

    def _ids(self, prompts: list[list[int]], n: int, options: Mapping[str, Any]) -> list[list[Any]]:
        return [choice["token_ids"] for choice in self._choices(prompts, n, {**options, "return_token_ids": True})]

    def _choices(self, prompts: list[list[int]], n: int, options: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        """One choice per prompt, in the order of the prompts."""
        answer = self.client.post("completions", self._body(prompts, n, options))
        self._same_model(answer)
        by_index = {choice["index"]: choice for choice in answer["choices"]}
        return [by_index[index] for index in range(len(prompts))]

    def _body(self, prompt: Sequence[Any], n: int, options: Mapping[str, Any]) -> dict[str, object]:
        return {"model": self.model, "prompt": prompt, "max_tokens": n, **options}


def _rows(choice: Mapping[str, Any]) -> list[Row]:
    """A prompt's first token has no predecessor; the log-probabilities after its last one come with the generated
    token."""
    following = [
        {int(token): entry["logprob"] for token, entry in position.items()}
        for position in choice["prompt_logprobs"][1:]
    ]
    (last,) = choice["logprobs"]["top_logprobs"]
    return [*following, {int(token.removeprefix(TOKEN_PREFIX)): value for token, value in last.items()}]
