"""Trains the embedded models: data, mined candidates, the joint ranker, its packaging."""
