"""The vision-language model: loading, prompting, decoding, answering, training."""
