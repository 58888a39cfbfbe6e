"""Models as they are named, and the runtimes that open them."""
