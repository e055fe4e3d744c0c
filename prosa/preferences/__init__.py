"""People rank the model's answers: judgments and their store, statistics, and what to show next. No torch."""

from prosa.preferences.judgments import Answer, Item, Judgment, Message, RankedAnswers, Ranking, check_messages

__all__ = ["Answer", "Item", "Judgment", "Message", "RankedAnswers", "Ranking", "check_messages"]
