"""Servers that sample answers, each in a separate environment; nothing of csrdata imports them."""
