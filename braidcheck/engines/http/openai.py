"""Any other server with OpenAI's ``/v1/completions``: token ids in, tokens out as "token_id:N" or as their text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from braidcheck.engines.http.client import ServerError
from braidcheck.engines.http.server import Row, Server
from braidcheck.engines.http.vllm import TOKEN_PREFIX


class OpenAiServer(Server):
    """``POST completions`` with ``echo`` and ``logprobs``. No ``sample``: OpenAI has no top-k and no min-p."""

    name = "OpenAI-compatible"

    def _logprobs(self, prompts: list[list[int]], top: int) -> list[list[Row]]:
        return [self._rows(ids, self._shown(ids, 1, {"echo": True, "logprobs": top})) for ids in prompts]

    def _answers(self, prompts: list[list[int]], n: int, stop: Sequence[int]) -> list[list[Any]]:
        answers = [self._shown(ids, n, {"logprobs": 1})["tokens"] for ids in prompts]
        return [[self._id(token) for token in tokens] for tokens in answers]

    def _shown(self, ids: list[int], n: int, options: Mapping[str, Any]) -> Mapping[str, Any]:
        shown = {"return_tokens_as_token_ids": True, **options}
        body = {"model": self.model, "prompt": ids, "max_tokens": n, "temperature": 0, **shown}
        answer = self.client.post("completions", body)
        self._same_model(answer)
        return answer["choices"][0]["logprobs"]

    def _rows(self, ids: list[int], answer: Mapping[str, Any]) -> list[Row]:
        """The log-probabilities after each token: the best ones and the prompt's own."""
        if len(answer["tokens"]) != len(ids) + 1:
            cut = f"{len(answer['tokens']) - 1} tokens of a prompt of {len(ids)}"
            raise ServerError(f"{self.client.address} echoes {cut}: does it prepend a token?")
        rows: list[Row] = [
            {self._id(text): value for text, value in best.items() if self._is_known(text)}
            for best in answer["top_logprobs"][1:]
        ]
        own = [{token: value} for token, value in zip(ids[1:], answer["token_logprobs"][1:-1], strict=True)]
        return [{**row, **more} for row, more in zip(rows, [*own, {}], strict=True)]

    def _is_known(self, text: str) -> bool:
        """Whether this token can be identified; the probability of the others remains unknown."""
        return text.startswith(TOKEN_PREFIX) or text in self._by_text

    def _id(self, text: str) -> int:
        if text.startswith(TOKEN_PREFIX):
            return int(text.removeprefix(TOKEN_PREFIX))
        if text not in self._by_text:
            raise ServerError(f"{self.client.address} gives tokens as text, and {text!r} is that of none or of several")
        return self._by_text[text]

    @cached_property
    def _by_text(self) -> dict[str, int]:
        """The tokens with a unique text."""
        from transformers import AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(self.directory, local_files_only=True)
        texts = [tokenizer.decode([token]) for token in range(self.vocabulary_size)]
        times = Counter(texts)
        return {text: token for token, text in enumerate(texts) if times[text] == 1}
