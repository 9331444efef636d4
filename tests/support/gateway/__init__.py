"""Gateways in processes of their own, and clients of them."""
