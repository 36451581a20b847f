"""Servers that sample answers, each in an environment of its own; nothing of csrdata imports them."""
