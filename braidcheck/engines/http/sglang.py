"""SGLang's server: its own ``/generate``, since its OpenAI-compatible endpoint returns tokens as text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from braidcheck.engines.http.server import Row, StoppingServer, reading


class SglangServer(StoppingServer):
    """``POST /generate`` at the server's root, several prompts a request."""

    name = "SGLang"

    def _logprobs(self, prompts: list[list[int]], top: int) -> list[list[Row]]:
        options = {"return_logprob": True, "logprob_start_len": 0, "top_logprobs_num": top}
        results = self._results(prompts, {"max_new_tokens": 1, "temperature": 0}, options)
        return [_rows(result["meta_info"]) for result in results]

    def _answers(self, prompts: list[list[int]], n: int, stop: Sequence[int]) -> list[list[Any]]:
        parameters = {"max_new_tokens": n, "temperature": 0, "stop_token_ids": list(stop)}
        return [result["output_ids"] for result in self._results(prompts, parameters, {})]

    def sample(
        self, ids: list[int], n: int, *, temperature: float, top_k: int, top_p: float, min_p: float, seed: int,
        stop: Sequence[int] = (),
    ) -> list[int]:  # fmt: skip
        """Drawn tokens; SGLang takes a top_k of -1 for all."""
        filters = {"temperature": temperature, "top_k": top_k or -1, "top_p": top_p, "min_p": min_p}
        ends = {"stop_token_ids": list(stop)} if stop else {}
        with reading(self.client, "token ids"):
            (result,) = self._results([ids], {"max_new_tokens": n, **filters, **ends, "sampling_seed": seed}, {})
            return self._tokens(result["output_ids"])

    def _results(
        self, prompts: list[list[int]], parameters: Mapping[str, Any], options: Mapping[str, Any]
    ) -> list[Mapping[str, Any]]:
        results = self.client.post("/generate", {"input_ids": prompts, "sampling_params": dict(parameters), **options})
        return list(results) if isinstance(results, list) else [results]


def _rows(meta: Mapping[str, Any]) -> list[Row]:
    """Best tokens and the prompt's own, as [log-probability, id, text]; nothing precedes the first."""
    best = [*meta["input_top_logprobs"][1:], *meta["output_top_logprobs"][:1]]
    own = [*([entry] for entry in meta["input_token_logprobs"][1:]), []]
    return [{token: value for value, token, *_ in (*entries, *more)} for entries, more in zip(best, own, strict=True)]
