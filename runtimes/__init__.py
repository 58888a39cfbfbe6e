"""Adapters: one file per inference engine, each behind `pajamas_eval.api.runtime`."""
