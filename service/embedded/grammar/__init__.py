"""From JSON Schema to the grammars that llama.cpp decodes by."""
