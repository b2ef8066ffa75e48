"""Use cases as plain functions; backends are passed in."""
