"""Log-probabilities of tokens that are known beforehand: all tokens of a sentence in one pass behind the shared prefix.

Decoding needs a pass for each token, because the next one is not known. Where something else has chosen the tokens, such as
a server, `KnownPasses` feeds each sentence with the answer before it as one block (`csrdata.policy.question_block`). The
answer is fed again at each depth: more tokens, but no more passes.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from csrdata.policy import question_block
from csrdata.policy.question_block import QuestionPasses, TokenBlock, cuts


class KnownPasses(QuestionPasses):
    """Shared passes that score sentences instead of decoding them: `admit` the prompts, then `logprobs` for each depth."""

    @torch.inference_mode()
    def logprobs(
        self,
        prompts: Sequence[int],
        before: Sequence[Sequence[int]],
        tokens: Sequence[Sequence[int]],
    ) -> list[list[float]]:
        """Return the log-probability of each token of N sentences, in nats, given prompt and answer before it.

        They equal those of feeding the tokens one by one within 1e-4 in float32. Prompts without a sentence are dropped. A
        prompt's sentence without an answer before it must be in the first call after it was admitted.

        Args:
            prompts: for each sentence the number of its prompt, as given to `admit`.
            before: for each the tokens of the answer before it; may be empty.
            tokens: of each, 1 or more.
        """
        prefix = self._leave_only(set(prompts))
        found: list[list[float]] = [[] for _ in tokens]
        for row, prompt in enumerate(prompts):
            if not before[row]:
                found[row] = _of(self.first_logits[prompt][None], tokens[row][:1])
        self.first_logits = {}
        fed = [[*answer, *own[:-1]] for answer, own in zip(before, tokens, strict=True)]
        rows = [row for row, own in enumerate(fed) if own]
        owners = [self.present.index(prompts[row]) for row in rows]
        lengths = [len(fed[row]) for row in rows]
        for start, end in cuts(lengths, most=question_block.BLOCK_TOKENS) if rows else ():
            part = [fed[row] for row in rows[start:end]]
            logits = self._feed_block(TokenBlock(prefix, owners[start:end], part), part)
            behind = 0
            for row in rows[start:end]:
                behind += len(fed[row])
                own = tokens[row][len(found[row]) :]
                found[row] += _of(logits[behind - len(own) : behind], own)
        return found


def _of(logits: Tensor, tokens: Sequence[int]) -> list[float]:
    """Return the log-probabilities of n tokens; logits [n, V]."""
    chosen = torch.tensor(list(tokens), device=logits.device)[:, None]
    return logits.float().log_softmax(-1).gather(-1, chosen)[:, 0].tolist()
