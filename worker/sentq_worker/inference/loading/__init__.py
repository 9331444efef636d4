"""From a model's files to a model and its tokenizer.

Plain BERT classifiers, as the bundled one, are read with torch alone; all others by Transformers.
May import `engine`, and `classifier`, `packed` and `model_files` of `inference`.
"""
