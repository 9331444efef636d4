"""How the windows of long texts are joined: each rule on texts whose label is known. May import the
worker's engine and scoring."""
