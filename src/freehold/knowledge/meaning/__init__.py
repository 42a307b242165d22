"""Nearness of meaning: vectors of texts, by a service or by a model in this process, and the nearest of them."""
