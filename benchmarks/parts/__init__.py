"""The parts of texts: which segmenter, how well `mixed` and labels of sentences agree, how fast."""
