"""Smaller numbers in a trained network, measured against the network they come from."""
