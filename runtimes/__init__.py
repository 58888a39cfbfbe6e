"""Adapters: one file per inference engine, each behind the contract in `pajamas_eval.runtime`."""
