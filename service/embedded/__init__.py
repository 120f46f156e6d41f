"""The embedded model: llama.cpp's server in a child process, and the engine over it.

Nothing is imported here: the child is a program of this package, and is to start fast.
"""
