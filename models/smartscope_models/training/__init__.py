"""Recipes that make the shipped networks from seeded simulation alone; one command reproduces each weight file."""
