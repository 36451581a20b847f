"""What an oracle knows: how many claims of a text are false and how many are true, from the source's truth.

No other way to make pairs reads the truth. `push` refuses pairs of an oracle (`csrdata.publishing.release.gates`).
"""

from collections.abc import Sequence

from csrdata import paths
from csrdata.errors import UserError
from csrdata.evaluation.claims import is_false, mentions_of
from csrdata.params import Params
from csrdata.pipeline.source import open_source
from csrdata.pipeline.truth import source_truths, truths_of
from csrdata.records import Prompt, Truth
from csrdata.search.pairs import Claims, CountClaims
from csrdata.storage.tables import read_rows

SAMPLED = "dvc repro sample_prompts"


def count_claims(params: Params, prompts: Sequence[Prompt]) -> CountClaims:
    """Return the count of the claims of a text about one of these prompts' images.

    Raises:
        UserError: the source knows no truth, or not that of an image.
    """
    parser = open_source(params.source).claim_parser()
    if parser is None:
        raise UserError(
            "params.yaml: select_pairs",
            got=f"an order by truth, and the source {params.source.kind}, which knows no truth",
            expected="an order that needs none",
            do="take another order, then: dvc repro",
        )
    rows = source_truths(params.evaluation_sets, read_rows(paths.TRUTH, Truth, made_by=SAMPLED))
    truths = truths_of(prompts, rows, made_by=SAMPLED)

    def count(prompt: Prompt, text: str) -> Claims:
        mentions = mentions_of(text, truths[prompt.prompt_id], parser)
        true = {mention.name for mention in mentions if not is_false(mention)}
        return Claims(false=sum(map(is_false, mentions)), true=len(true))

    return count
