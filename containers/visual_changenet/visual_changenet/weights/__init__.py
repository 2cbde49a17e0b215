"""Weights of others: recognising them, reading them without running their code, fitting them to a network."""
