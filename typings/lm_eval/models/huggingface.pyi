# lm-eval registers HFLM by a decorator that loses its type; these are the parts used here.
from typing import Any

import torch
from lm_eval.api.instance import Instance
from lm_eval.api.model import TemplateLM
from transformers import PreTrainedModel, PreTrainedTokenizerBase

class HFLM(TemplateLM):
    tokenizer: PreTrainedTokenizerBase
    @property
    def model(self) -> PreTrainedModel: ...
    @property
    def device(self) -> torch.device: ...
    @property
    def max_length(self) -> int: ...
    @property
    def max_gen_toks(self) -> int: ...
    @property
    def eot_token_id(self) -> int: ...
    @property
    def prefix_token_id(self) -> int: ...
    def __init__(
        self,
        pretrained: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        batch_size: int,
    ) -> None: ...
    def tok_encode(
        self, string: str, add_special_tokens: bool | None = None, **kwargs: Any
    ) -> list[int]: ...
    def loglikelihood(
        self, requests: list[Instance], disable_tqdm: bool = False
    ) -> list[tuple[float, bool]]: ...
    def _loglikelihood_tokens(
        self,
        requests: list[tuple[tuple[str, str] | None, list[int], list[int]]],
        disable_tqdm: bool = False,
        override_bs: int | None = None,
    ) -> list[tuple[float, bool]]: ...
    def loglikelihood_rolling(
        self, requests: list[Instance], disable_tqdm: bool = False
    ) -> list[float]: ...
    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]: ...
