"""Prosa: the whole life of a language model."""
