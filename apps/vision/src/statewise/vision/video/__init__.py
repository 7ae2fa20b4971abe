"""Clips: reading them, models that predict their next frames, and how good those are."""
