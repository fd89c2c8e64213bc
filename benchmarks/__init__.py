"""Protocols, pairs and published tables; the scripts beside them measure speed and draw pictures."""
