"""Recommendations as a service: a state per user that each event moves on, kept in SQLite."""
